import { Refusal } from '../errors/refusal.ts';
import type { Content, Measured } from '../files/measure.ts';
import type { Answer, Question } from '../files/measurer.ts';
import { MemoryTree } from '../files/memory-tree.ts';
import type { Tree, TreeFile } from '../files/tree.ts';

/**
 * Content that is asked once and remembers its answers, so that the same questions can be put again when time has
 * passed: what the content is does not change, and only who may vouch for it does.
 */
export class RememberedFile implements Content {
  readonly #content: Content;
  readonly #answers = new Map<string, Answer>();
  #size = 0;

  constructor(content: Content) {
    this.#content = content;
  }

  async measure(questions: readonly Question[]): Promise<Measured> {
    const measured = await this.#content.measure(questions);
    this.#size = measured.size;
    for (const [index, question] of questions.entries()) {
      const answer = measured.answers[index];
      if (answer !== undefined) this.#answers.set(keyOf(question), withoutTree(answer));
    }
    return measured;
  }

  /** The same file, without the content. @param path names it in refusals. */
  recall(path: string): TreeFile {
    return {
      size: this.#size,
      place: undefined,
      measure: async (questions) => ({
        size: this.#size,
        answers: questions.map((question) => {
          const answer = this.#answers.get(keyOf(question));
          if (answer !== undefined) return answer;
          // Never a guess: a question that was not put to the content has no answer.
          throw new Refusal('no-verdict', `${path} would have to be read again for this.`, { path });
        }),
      }),
      close: async () => {},
    };
  }
}

/** A tree out of memory: records and seals by their bytes, payload by what was answered about it. */
export function rememberedTree(
  name: string,
  records: ReadonlyMap<string, Uint8Array>,
  payload: ReadonlyMap<string, RememberedFile>,
): Tree {
  const below = new MemoryTree(name, records);
  return {
    name,
    list: (folder) => below.list(folder),
    read: (path, limit) => below.read(path, limit),
    open: async (path) => payload.get(path)?.recall(path) ?? below.open(path),
  };
}

function keyOf(question: Question): string {
  const hex = (bytes: Uint8Array | undefined) => (bytes ? Buffer.from(bytes).toString('hex') : '');
  switch (question.kind) {
    case 'digest':
      return `digest ${question.hash} ${hex(question.suffix)}`;
    case 'ecdsa-verify':
      return `ecdsa ${question.hash} ${question.publicKey} ${hex(question.signature)}`;
    case 'verity':
      return 'verity';
  }
}

/** The root of a hash tree is what a check compares; the tree itself has a hundredth of the image's size. */
function withoutTree(answer: Answer): Answer {
  if (typeof answer !== 'object' || !('fsVerity' in answer)) return answer;
  const { dmVerity, ...rest } = answer;
  return dmVerity ? { ...rest, dmVerity: { ...dmVerity, hashDevice: [] } } : rest;
}
