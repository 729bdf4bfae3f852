import { userInfo } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { UsageError } from '../../errors/usage.ts';
import type { AfterOnce } from '../../formats/records/armed-boot.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { ArmedMachine } from '../../publish/arm.ts';
import { serverAddress } from '../../scripts/server-address.ts';
import { accessOf } from '../../signing/keys/passphrase.ts';
import type { StoredArming } from '../../store/armed-boots.ts';
import { act, folder, folders, newCommand, releaseId, stateAt, understood } from '../context.ts';
import { EXIT } from '../exit.ts';
import { demandState, keyholderOf, type SignedByOptions, withKeyholder } from '../keyholder-options.ts';
import { addPassphraseOption, type PassphraseWords, passphrases } from '../passphrases.ts';

interface ArmWords extends PassphraseWords, SignedByOptions {
  readonly release: string;
  readonly uuid?: string;
  readonly word?: readonly string[];
  readonly for?: number;
  readonly then: AfterOnce;
  readonly loader: 'ipxe' | 'grub';
  readonly keys?: string;
  readonly anchors?: readonly string[];
  readonly url?: string;
}

const SNAPSHOT_KEY = 'what signs the log; default: a key of the state’s own';

/** `machines arm`. */
export function armCommand(): Command {
  const command = newCommand(
    'arm',
    'have a machine boot a release once, by a script that is signed now and ends by itself',
    'bootseal machines arm 52:54:00:12:34:56 --release debian/2026.11.01 --for 4h --state /srv/bootseal --keys /etc/bootseal/keys',
  )
    .argument('<mac>', 'the address of the card that it boots from')
    .requiredOption('--release <name/version>', 'published in the state', releaseId)
    .option('--uuid <uuid>', 'and only where the machine says that it has this one')
    .option(
      '--word <word>',
      'fills a free word of the release, NAME=VALUE; may be given several times',
      several,
    )
    .option('--for <time>', 'how long it may begin: 30m, 4h; at most 24h; default: 4h', duration)
    .addOption(
      new Option('--then <what>', 'what it boots afterwards: its local disk, or what it usually does')
        .choices(['local', 'usual'])
        .default('local'),
    )
    .addOption(
      new Option('--loader <loader>', 'grub where the policy lets it')
        .choices(['ipxe', 'grub'])
        .default('ipxe'),
    )
    .option('--state <dir>', 'where releases and channels live', stateAt)
    .option(
      '--keys <dir>',
      'a folder that "init" made, with the key of the CA, or one day of "keys delegate"',
      folder,
    )
    .option('--snapshot-key <dir>', SNAPSHOT_KEY, folder)
    .option(
      '--anchors <dir>',
      'what the release must lead to; default: those of --keys. Once for each CA',
      folders,
    )
    .option(
      '--url <url>',
      'where machines find the server; default: where the scripts of the release do',
      understood(serverAddress),
    );
  return addPassphraseOption(withKeyholder(command)).action(
    act<ArmWords>(async ({ terminal, now }, options, mac = '') => {
      const {
        release,
        uuid,
        word: words = [],
        for: lasts = duration('4h'),
        then: afterwards,
        loader,
        keys,
        anchors,
        url,
        snapshotKey,
      } = options;
      const asked = await keyholderOf(options, { '--keys': keys, '--anchors': anchors, '--url': url });
      const facts = {
        mac,
        release,
        words,
        lasts,
        afterwards,
        loader,
        ...(uuid === undefined ? {} : { uuid }),
      };
      let armed: ArmedMachine;
      if (asked) {
        armed = await asked.arm(facts);
      } else {
        if (keys === undefined)
          throw new UsageError('Name the keys that sign with --keys, or a keyholder with --keyholder.');
        const { armMachine } = await import('../../publish/arm.ts');
        const passphrase = passphrases(options);
        armed = await armMachine({
          ...accessOf(passphrase ? { passphrase } : {}),
          ...facts,
          state: demandState(options.state),
          keys,
          anchors: anchors ?? [join(keys, 'anchors')],
          ...(url === undefined ? {} : { server: serverAddress(url) }),
          by: `uid ${userInfo().uid}`,
          snapshotKey,
          now,
        });
      }
      const { arming, warnings } = armed;
      terminal.json({ ...armingFacts(arming), warnings });
      terminal.print(
        `${arming.mac} boots ${arming.release} once, if it begins before ${isoSeconds(arming.ends)}; then ${inThePlace(arming.afterwards)}.`,
        'good',
      );
      for (const warning of warnings) terminal.print(`Warning: ${warning}.`, 'bad');
      return EXIT.ok;
    }),
  );
}

interface StateWords {
  readonly state: string;
  readonly snapshotKey?: string;
}

/** `machines disarm`. */
export function disarmCommand(): Command {
  return newCommand(
    'disarm',
    'take an arming back, or have a machine that has booted its own boot as usual again',
    'bootseal machines disarm 52:54:00:12:34:56 --state /srv/bootseal',
  )
    .argument('<mac>', 'the address of the card that it boots from')
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .option('--snapshot-key <dir>', SNAPSHOT_KEY, folder)
    .action(
      act<StateWords>(async ({ terminal, now }, { state, snapshotKey }, mac = '') => {
        const { disarmMachine } = await import('../../publish/arm.ts');
        const by = `uid ${userInfo().uid}`;
        const before = await disarmMachine({ state, mac, by, snapshotKey, now });
        terminal.json({
          mac,
          changed: before !== undefined,
          ...(before ? { before: keptFacts(before) } : {}),
        });
        terminal.print(
          before === undefined
            ? `${mac} is not armed: nothing was taken back.`
            : `${before.arming.mac} boots as usual again; it was ${inWords(before)}.`,
          'good',
        );
        return EXIT.ok;
      }),
    );
}

/** `machines armed`. */
export function armedCommand(): Command {
  return newCommand(
    'armed',
    'list machines that are armed, and what became of those that were',
    'bootseal machines armed --state /srv/bootseal',
  )
    .requiredOption('--state <dir>', 'where releases and channels live', stateAt)
    .action(
      act<StateWords>(async ({ terminal, now }, { state }) => {
        const { listArmed } = await import('../../publish/arm.ts');
        const all = await listArmed(state);
        terminal.json({ machines: all.map(keptFacts) });
        if (all.length === 0) terminal.print('No machine was ever armed here.');
        else
          terminal.table(
            ['machine', 'release', 'ends', 'now'],
            all.map((kept) =>
              [
                kept.arming.mac,
                kept.arming.release,
                isoSeconds(kept.arming.ends),
                !kept.consumed && now >= kept.arming.ends ? 'ended' : inWords(kept),
              ].map((text) => ({ text })),
            ),
          );
        return EXIT.ok;
      }),
    );
}

export function inWords({ arming, consumed, dismissed }: StoredArming): string {
  if (!consumed) return 'armed';
  const at = isoSeconds(consumed.time);
  if (consumed.how === 'ended') return 'ended';
  if (consumed.how === 'cancelled') return `taken back ${at}`;
  return `booted ${at}, then ${dismissed ? inThePlace('usual') : inThePlace(arming.afterwards)}`;
}

function inThePlace(after: AfterOnce): string {
  return after === 'local' ? 'its local disk' : 'what it usually boots';
}

function armingFacts(arming: StoredArming['arming']): object {
  const { armed, ends, leaves, ...rest } = arming;
  return { ...rest, armed: isoSeconds(armed), ends: isoSeconds(ends), proof: leaves ? 'files' : 'report' };
}

export function keptFacts({ arming, consumed, dismissed }: StoredArming): object {
  const end = consumed && { how: consumed.how, time: isoSeconds(consumed.time), address: consumed.address };
  return {
    ...armingFacts(arming),
    state: consumed ? 'consumed' : 'armed',
    ...(end ? { end } : {}),
    dismissed,
  };
}

function several(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** `30m`, `4h`: milliseconds. */
function duration(text: string): number {
  const [, count, unit] = /^([1-9][0-9]{0,3})(m|h)$/.exec(text) ?? [];
  const milliseconds = Number(count) * (unit === 'h' ? 3_600_000 : 60_000);
  if (count === undefined || milliseconds > 24 * 3_600_000)
    throw new InvalidArgumentError('Write minutes or hours, as in 30m or 4h; 24h is the longest.');
  return milliseconds;
}
