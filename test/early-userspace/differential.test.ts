import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { answered, emulatedAnswer } from '../fixtures/emulated-verifier.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { Chance, changed } from '../fixtures/hostile-texts.ts';
import { NOW } from '../fixtures/keys.ts';
import {
  GOOD_POLICY,
  goodCmdline,
  goodText,
  type Machine,
  type ManifestVector,
  OPENPGP_NAME,
  RECORD_NAME,
  sha256,
} from '../fixtures/manifest-record.ts';
import { manifestVectors } from '../fixtures/manifest-vectors.ts';
import { newTestKey, publicKeyPacket, signTest, userId } from '../fixtures/openpgp.ts';
import { shellAnswers } from '../fixtures/shell-verifier.ts';

/**
 * Manifests, policies and command lines that are nearly right, asked of the verifier for busybox and of the emulated one:
 * they are one set of rules, written twice, and must give the same answer to whatever comes.
 */

const LONG = process.env.BOOTSEAL_LONG_TESTS !== undefined;
/** Whoever wants to see a failure again, or other texts: BOOTSEAL_SEED. */
const SEED = Number(process.env.BOOTSEAL_SEED ?? 13);
const CASES = LONG ? 5000 : 300;
const BATCH = 500;

const folder = await temporaryFolder();
const image = Buffer.alloc(25 * 4096, 'root image');
const TODAY = NOW / 1000;
const DAY = 86_400;

// Seals are others' matter: these hold at every time that is asked about.
const key = newTestKey(Date.UTC(2020, 0));
const keyring = Buffer.concat([publicKeyPacket(key), userId(key, { created: Date.UTC(2020, 0) })]);

/** Wherever the verifier looks for it. */
const KEYRINGS = ['gpg/pubring.gpg', 'bootseal/manifest.gpg'];

/** What a machine is made of, as texts: one character a byte. */
interface Texts {
  readonly manifest: string;
  /** Undefined: none. */
  readonly policy: string | undefined;
  /** Of the manifest's digest. */
  readonly cmdline: (digest: string) => string;
  readonly arch: string;
  readonly now: number;
  readonly claim: number | undefined;
}

function textsOf(vector: ManifestVector): Texts {
  const good = goodText(image);
  const policy = vector.policy ?? GOOD_POLICY;
  return {
    manifest: vector.text?.(good) ?? good,
    policy: policy === '' ? undefined : policy,
    cmdline: (digest) => (vector.cmdline ?? ((line) => line))(goodCmdline(digest)),
    arch: vector.arch ?? 'x86_64',
    // A seal from the future is refused before anything is read.
    now: Math.max(vector.now ?? TODAY, Date.UTC(2020, 1) / 1000),
    claim: vector.claim,
  };
}

function machineOf({ manifest, policy, cmdline, arch, now, claim }: Texts): Machine {
  const record = Buffer.from(manifest, 'latin1');
  return {
    root: {
      ...Object.fromEntries(KEYRINGS.map((path) => [path, keyring])),
      ...(policy === undefined ? {} : { 'bootseal/policy': Buffer.from(policy, 'latin1') }),
    },
    records: {
      [RECORD_NAME]: record,
      [OPENPGP_NAME]: signTest(key, record, { created: Date.UTC(2020, 0, 2) }),
    },
    cmdline: cmdline(sha256(record)),
    arch,
    now,
    ...(claim === undefined ? {} : { claim }),
  };
}

const bases = manifestVectors.filter(({ records, root }) => !records && !root).map(textsOf);
const manifests = bases.map(({ manifest }) => manifest);
const policies = bases.flatMap(({ policy = [] }) => policy);
const cmdlines = bases.map(({ cmdline }) => cmdline('d'.repeat(64)));

function hostile(chance: Chance): Texts {
  const base = chance.one(bases);
  const other = { manifest: chance.one(manifests), policy: chance.one(policies) };
  // Of a text that is wrong already nobody learns what a second fault would do.
  const whole =
    chance.below(3) > 0 ? { ...base, manifest: goodText(image), policy: GOOD_POLICY } : { ...base, ...other };
  const what = chance.below(8);
  return {
    ...whole,
    ...(what <= 3 ? { manifest: changed(whole.manifest, manifests, chance) } : {}),
    ...(what === 4 || what === 5 ? { policy: changed(whole.policy, policies, chance) } : {}),
    ...(what >= 5 ? lineChanged(whole.cmdline, chance) : {}),
    ...(chance.below(4) > 0 ? {} : { now: TODAY + DAY * (chance.below(140) - 20) + chance.below(3) - 1 }),
    ...(chance.below(4) > 0 ? {} : { claim: TODAY + DAY * (chance.below(140) - 20) }),
    ...(chance.below(20) > 0
      ? {}
      : { arch: changed('x86_64', ['aarch64', 'riscv64 i686'], chance).replace(/[\0\n]/g, '?') }),
  };
}

function lineChanged(cmdline: Texts['cmdline'], chance: Chance): Partial<Texts> {
  // The same change, whatever the digest.
  const mark = '0123456789abcdef'.repeat(4);
  const line = changed(cmdline(mark), cmdlines, chance);
  return { cmdline: (digest) => line.replaceAll(mark, digest) };
}

async function emulated(machine: Machine): Promise<readonly string[]> {
  try {
    const answer = await emulatedAnswer(machine);
    // Whoever runs the script demands a manifest, whether the policy does or not.
    return answer[0] === 'not asked' ? ['refused wrong-command-line'] : answer;
  } catch (error) {
    if (error instanceof Refusal) return [`refused ${error.code}`];
    throw error;
  }
}

/** Asks both, and says of the first difference how to see it again. */
async function demandSame(all: readonly Texts[], seed: string): Promise<Map<string, number>> {
  const seen = new Map<string, number>();
  for (let at = 0; at < all.length; at += BATCH) {
    const machines = all.slice(at, at + BATCH).map(machineOf);
    const said = shellAnswers(folder, machines);
    for (const [index, machine] of machines.entries()) {
      const { lines, status } = said[index] ?? { lines: [], status: -1 };
      const wanted = await emulated(machine);
      const got = status === 0 ? answered(lines) : lines.map((line) => line.split(' ').slice(0, 2).join(' '));
      const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('latin1');
      assert.deepEqual(
        { status, got },
        { status: wanted[0]?.startsWith('refused') ? 1 : 0, got: wanted },
        `${seed}, case ${at + index}: ${JSON.stringify(
          {
            manifest: text(machine.records[RECORD_NAME]),
            policy: text(machine.root['bootseal/policy']),
            cmdline: machine.cmdline,
            arch: machine.arch,
            now: machine.now,
            claim: machine.claim,
            lines,
          },
          undefined,
          1,
        )}`,
      );
      const verdict = wanted[0]?.startsWith('refused') ? (wanted[0] ?? '') : 'verified';
      seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
    }
  }
  return seen;
}

describe('busybox and the emulated machine say the same', () => {
  it('of vectors that need no key of their own', async () => {
    // Each was asked of both by itself: this is about the many in one process.
    const some = LONG ? bases : bases.filter((_, index) => index % 6 === 0);
    const seen = await demandSame(some, 'the vectors');
    assert.ok(seen.size >= 4, [...seen.keys()].join(', '));
  });

  it(`of ${CASES} texts that are nearly right`, async () => {
    const chance = new Chance(SEED);
    const seen = await demandSame(
      Array.from({ length: CASES }, () => hostile(chance)),
      `BOOTSEAL_SEED=${SEED}`,
    );
    for (const code of ['verified', 'refused malformed', 'refused wrong-command-line'])
      assert.ok(seen.has(code), `${code} is among ${[...seen.keys()].join(', ')}`);
  });
});
