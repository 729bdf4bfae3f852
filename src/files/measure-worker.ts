import { parentPort } from 'node:worker_threads';
import { type Answer, Measurer, type Question } from './measurer.ts';

/** The thread behind `lane.ts`: one measurer at a time over slots of shared memory. */

export type ToWorker =
  | {
      readonly do: 'begin';
      readonly questions: readonly Question[];
      readonly slots: readonly SharedArrayBuffer[];
    }
  | { readonly do: 'update'; readonly slot: number; readonly length: number }
  | { readonly do: 'end' };

export type FromWorker =
  | { readonly done: 'update'; readonly slot: number }
  | { readonly done: 'end'; readonly answers: readonly Answer[] };

/** What of an answer is given away and not copied: a tree may have megabytes. */
function memoryOf(answer: Answer): ArrayBuffer[] {
  const pieces =
    typeof answer === 'object' && 'fsVerity' in answer ? (answer.dmVerity?.hashDevice ?? []) : [];
  return pieces.map((piece) => piece.buffer as ArrayBuffer);
}

const port = parentPort;
if (port) {
  let measurer = new Measurer([]);
  let slots: readonly SharedArrayBuffer[] = [];
  port.on('message', (message: ToWorker) => {
    switch (message.do) {
      case 'begin':
        measurer = new Measurer(message.questions);
        slots = message.slots;
        break;
      case 'update': {
        const slot = slots[message.slot];
        if (slot) measurer.update(new Uint8Array(slot, 0, message.length));
        port.postMessage({ done: 'update', slot: message.slot } satisfies FromWorker);
        break;
      }
      case 'end': {
        const answers = measurer.answers();
        port.postMessage({ done: 'end', answers } satisfies FromWorker, answers.flatMap(memoryOf));
        break;
      }
    }
  });
}
