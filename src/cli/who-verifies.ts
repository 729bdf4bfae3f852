import type { Manifest } from '../formats/records/manifest.ts';
import { type VerifiedThing, whoVerifies } from '../release/who-verifies.ts';
import type { Terminal } from './terminal.ts';

/** Who verifies what of a release, once a machine has it: a seal that nobody looks at protects nobody. */
export function printWhoVerifies(terminal: Terminal, manifest: Manifest): void {
  const things = whoVerifies(manifest);
  terminal.table(
    ['on the machine', 'verified by', 'how'],
    things.map(({ what, by, how }) => [
      { text: what },
      { text: by, style: by === 'nobody' ? 'bad' : by === 'system' ? 'dim' : 'good' },
      { text: how, style: 'dim' },
    ]),
  );
  const nobody = things.filter(({ by }) => by === 'nobody');
  if (nobody.length > 0) terminal.print(`NOBODY verifies on the machine: ${namesOf(nobody)}.`, 'bad');
}

export function namesOf(things: readonly VerifiedThing[]): string {
  return things.map(({ what }) => what).join(', ');
}
