import { MAX_MANIFEST } from '../../formats/records/manifest.ts';
import { manifestOfRefusal } from '../../formats/script/ipxe-refusal.ts';
import { isIpxeScript, parseIpxeScript } from '../../formats/script/ipxe-script.ts';
import { grubKernelLines, ipxeKernelLines, type KernelLine } from '../../formats/script/kernel-lines.ts';
import type { Recognised } from './facts.ts';

const MANIFEST = /^bootseal\.manifest=(.+)$/;

/** A boot script: which manifests and which signers it names; undefined where it is none. Throws `Malformed`. */
export function inspectScript(bytes: Uint8Array): Recognised | undefined {
  if (isIpxeScript(bytes)) {
    const facts = lineFacts(ipxeKernelLines(bytes));
    // One that starts nothing names its manifest all the same.
    const named = manifestOfRefusal(bytes);
    const manifests = named === undefined ? facts.manifests : [named];
    return { kind: 'ipxe-script', facts: { ...facts, manifests, signers: demandedSigners(bytes) } };
  }
  const lines = isText(bytes) ? grubKernelLines(bytes) : undefined;
  // Of a text without a kernel nobody can tell what it is.
  if (!lines?.length) return undefined;
  // GRUB looks for a key in its image; a configuration names none.
  return { kind: 'grub-configuration', facts: { ...lineFacts(lines), signers: [] } };
}

/** Short, and nothing in it but lines of text. */
function isText(bytes: Uint8Array): boolean {
  return (
    bytes.length <= MAX_MANIFEST && !/[\x00-\x08\x0e-\x1f\x7f]/.test(Buffer.from(bytes).toString('latin1'))
  );
}

function lineFacts(lines: readonly KernelLine[] | undefined) {
  const words = lines?.flat() ?? [];
  return {
    manifests: unique(words.flatMap((word) => MANIFEST.exec(word)?.[1] ?? [])),
    commandLines: lines?.map((line) => line.join(' ')) ?? [],
  };
}

/** What `imgverify --signer` demands; settings in it unexpanded. */
function demandedSigners(bytes: Uint8Array): string[] {
  const signers: string[] = [];
  for (const { words } of parseIpxeScript(bytes).lines.flatMap(({ commands }) => commands)) {
    if (words[0] !== 'imgverify') continue;
    for (const [index, word] of words.entries()) {
      const [, inline] = /^(?:--signer=|-s)(.+)$/.exec(word) ?? [];
      const named = word === '--signer' || word === '-s' ? words[index + 1] : inline;
      if (named !== undefined) signers.push(named);
    }
  }
  return unique(signers);
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
