import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isoSeconds } from '../../src/formats/records/lines.ts';
import { type ClockVector, clockVectors } from '../fixtures/clock-vectors.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

/** early-userspace/clock under busybox, with a clock that is a variable and a time server that is a text. */

const SCRIPT = fileURLToPath(new URL('../../../early-userspace/clock', import.meta.url));
const folder = await temporaryFolder();

/** What OpenBSD's rdate says with -n -p -v -o 123, and busybox's ntpd with -n -w -d, as they were heard. */
const HEARD: Readonly<Record<'rdate' | 'ntpd', (seconds: number) => string>> = {
  rdate: (seconds) =>
    `Sun Nov  1 00:00:00 UTC 2026\nrdate: adjust local clock by ${seconds.toFixed(6)} seconds\n`,
  ntpd: (seconds) =>
    `ntpd: sending query to 192.0.2.1\nntpd: reply from 192.0.2.1: offset:${seconds < 0 ? '' : '+'}${seconds.toFixed(6)} delay:0.007172 status:0x24 strat:1 refid:0x4c434f4c rootdelay:0.000000 reach:0x01\nntpd: sending query to 192.0.2.1\n`,
};
const SILENT: Readonly<Record<keyof typeof HEARD, string>> = {
  rdate:
    'rdate: Unable to receive NTP packet from server: Connection refused\nrdate: Unable to get a reasonable time estimate\n',
  ntpd: 'ntpd: sending query to 192.0.2.1\nntpd: timed out waiting for 192.0.2.1, reach 0x00, next query in 1s\n',
};

const MACHINE = `set -f -u
IFS=' '
export LC_ALL=C
say() { echo "say $*"; }
refuse() { echo "refuse $*"; exit 1; }
# The stand-in says what it says and ends.
usleep() { wait "$asked"; }
# It is no test's business to set this machine's clock.
date() {
	case $* in
	+%s) echo "$clock" ;;
	'-u -s @'*) clock=\${3#@} ;;
	*) /bin/busybox date "$@" ;;
	esac
}
`;

/** Lines that were said, the clock, and how far the time server is ahead where that counts. */
async function ran(vector: Omit<ClockVector, 'says' | 'clock'>, client: keyof typeof HEARD, heard?: string) {
  const { now, issued, ntp, claim } = vector;
  const bootseal = join(folder, client);
  await mkdir(join(bootseal, 'bin'), { recursive: true });
  const offset = (claim ?? 0) - Math.max(now, issued ?? now);
  const answer =
    heard ?? (claim === undefined ? SILENT[client] : HEARD[client](offset + (offset < 0 ? -0.25 : 0.25)));
  // Both say what they say on standard error.
  const program = `#!/bin/busybox sh\necho "$*" >${bootseal}/asked\ncat >&2 <<'END'\n${answer}END\n`;
  await writeFile(join(bootseal, client === 'rdate' ? 'bin/rdate' : 'busybox'), program, { mode: 0o755 });
  const steps = [
    `clock=${now} bootseal=${bootseal} state=${bootseal} busybox=${bootseal}/busybox ahead=`,
    `. ${SCRIPT}`,
    ...(issued === undefined ? [] : [`raise_clock ${isoSeconds(issued * 1000)}`]),
    ...(ntp === undefined
      ? []
      : [`ask_time ${ntp}`, `read -r asked <${bootseal}/asked`, 'echo "asked $asked"']),
    'echo "clock $clock"',
    'echo "ahead $ahead"',
  ];
  const { stdout, stderr } = spawnSync('/bin/busybox', ['sh', '-c', MACHINE + steps.join('\n')], {
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  const of = (key: string) =>
    stdout
      .split('\n')
      .filter((line) => line.startsWith(`${key} `))
      .map((line) => line.slice(key.length + 1));
  return {
    says: of('say'),
    refused: of('refuse'),
    asked: of('asked')[0],
    clock: of('clock')[0],
    ahead: of('ahead')[0],
  };
}

for (const client of ['rdate', 'ntpd'] as const) {
  describe(`the clock of an overlay that asks with ${client}`, () => {
    for (const vector of clockVectors) {
      it(`is as it must be, given ${vector.name}`, async () => {
        const { says, clock, ahead, asked } = await ran(vector, client);
        assert.deepEqual(
          says.map((line) => line.replace(/^WARNING /, '')),
          vector.says,
        );
        assert.equal(clock, String(vector.clock));
        const later = vector.claim !== undefined && vector.claim > vector.clock;
        assert.equal(ahead, later ? String((vector.claim ?? 0) - vector.clock) : '');
        // Neither sets the clock.
        if (vector.ntp !== undefined)
          assert.equal(
            asked,
            client === 'rdate' ? `-n -p -v -o 123 ${vector.ntp}` : `ntpd -n -w -d -p ${vector.ntp}`,
          );
      });
    }

    for (const [what, heard] of [
      ['nothing at all', ''],
      ['an offset that is no number', HEARD[client](1).replace(/\d+\.\d+(?= (sec|delay))/, 'nan')],
      ['an offset of 12 digits', HEARD[client](123_456_789_012)],
      ['a command', HEARD[client](1).replace(/\d+\.\d+(?= (sec|delay))/, '$(reboot)')],
    ] as const) {
      it(`stays as it is where that says ${what}`, async () => {
        const { says, clock, ahead } = await ran({ name: '', now: 5, ntp: 'a', claim: 0 }, client, heard);
        assert.deepEqual(says, ['WARNING The time server a did not answer; the clock stays as it is.']);
        assert.deepEqual([clock, ahead], ['5', '']);
      });
    }
  });
}
