import { isoSeconds } from '../formats/records/lines.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { isSums, RECORD } from '../formats/records/seal-names.ts';
import type { SigningRequest } from '../formats/records/signing-request.ts';
import type { RequestSeen } from '../operations/request.ts';
import { PACK } from '../release/packed.ts';
import { unverifiedThings } from '../release/who-verifies.ts';
import { isScript } from '../signing/requests/request-files.ts';
import { printSignedWords } from './signed-words.ts';
import { octets, type Terminal } from './terminal.ts';
import { namesOf, printWhoVerifies } from './who-verifies.ts';

/** What whoever signs should look at: what boots, with which words, and who is asked. */
export function showRequest(terminal: Terminal, request: SigningRequest, manifest: Manifest): void {
  printSignedWords(terminal, manifest);
  terminal.print();
  terminal.table(
    ['role', 'file', 'size', 'sha256'],
    manifest.files.map(({ role, path, size, sha256 }) => [
      { text: role, style: 'dim' },
      { text: path },
      { text: octets(size) },
      { text: sha256 },
    ]),
  );
  terminal.print();
  printWhoVerifies(terminal, manifest);
  const nobody = unverifiedThings(manifest);
  if (nobody.length > 0) terminal.print(`On the machine NOBODY verifies ${namesOf(nobody)}.`, 'bad');
  if (manifest.files.some(({ path }) => path === PACK))
    terminal.print(
      `${PACK} may replace files of the system before it; where the tree is, "bootseal inspect" lists them.`,
    );
  if (request.texts.length > 0) {
    terminal.print();
    terminal.table(
      ['record or script', 'key', 'what it says'],
      request.texts.map(({ key, path }) => [
        { text: path },
        { text: key, style: 'dim' },
        { text: saidOf(path, manifest) },
      ]),
    );
  }
  const keys = new Map<string, number>();
  for (const { key } of [...request.signatures, ...request.texts]) keys.set(key, (keys.get(key) ?? 0) + 1);
  if (keys.size === 0) return;
  terminal.print();
  terminal.table(
    ['key', 'signatures', 'which'],
    [...keys].map(([key, count]) => [
      { text: key },
      { text: String(count) },
      { text: whichKey(request, key) },
    ]),
  );
}

/** Read, and held against the manifest, before it is shown. */
function saidOf(path: string, { release }: Manifest): string {
  if (path.endsWith(RECORD.manifest)) return `binds the files, and the command line, of ${release}`;
  if (isScript(path)) return `starts ${release}, with the command line above; for any machine`;
  if (isSums(path)) return 'sums of what the manifest lists, for sha256sum and systemd';
  return 'the root hash that the manifest lists';
}

export function showChanges(terminal: Terminal, { since }: RequestSeen, kept: boolean): void {
  terminal.print();
  if (!since) {
    terminal.print(
      kept
        ? 'Nothing of this name was signed here before.'
        : 'What changed since the last release is not known: --journal DIR keeps what was signed.',
      'dim',
    );
    return;
  }
  const [first] = since.changes;
  terminal.print(
    first === undefined ? `Nothing but dates changed since ${since.release}.` : `Since ${since.release}:`,
  );
  for (const change of since.changes) terminal.print(`  ${change}`);
}

function whichKey({ openpgp, leaves, certificates, release }: SigningRequest, key: string): string {
  const own = openpgp.find((line) => line.key === key);
  if (own) return own.fingerprint;
  const leaf = leaves.find((order) => order.key === key);
  if (leaf)
    return `to be issued for ${release}, ${leaf.kind} ${leaf.bits}, until ${isoSeconds(leaf.notAfter)}`;
  return `sha256 ${certificates.find((certificate) => certificate.key === key)?.sha256 ?? ''}`;
}
