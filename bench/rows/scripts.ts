import { execFile, spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { waitForOutput } from '../../lab/output.ts';
import { running } from '../../lab/servers.ts';
import { KeyholderClient } from '../../src/keyholder/client.ts';
import { processorTime } from '../frame/process.ts';
import { BOOTSEAL, type SealedSite, sealedSite, startProduct } from '../frame/product.ts';
import type { Part } from '../frame/row.ts';
import { applyMachines, copyState, macOf, publishSite, writeMachines } from '../frame/stored.ts';

const run = promisify(execFile);

/**
 * Scripts of machines. A server signs nothing: `machines apply`, or the keyholder, signs a batch before it counts, one for
 * iPXE and one for GRUB where machines have words of their own; what is asked for later is read, verified and sent.
 */
export const part: Part = {
  name: 'scripts',
  packages: [{ packageName: 'wrk', needs: ['wrk'] }],
  rows: [
    {
      name: 'scripts/new',
      job: 'sign 2,000 new scripts of 1,000 machines, the whole command',
      against: 'openssl speed rsa3072, one core',
      unit: 'times',
      goal: { atLeast: 0.8 },
      limit:
        'Processor time beside RSA, which is a quarter of it. Of what the first thread does a third is compiling, linting, reading and verifying 2,000 scripts, a third Node’s way to the disk (some 20 calls for each script and its seal, which are kept durably one by one), a tenth its garbage collector. Kept: signing on other threads beside all that; each script is linted once, and read once for all that is asked of it; sixteen wait for the disk at once and share the sync of their folder; templates and certificates of seals are read once, words of GRUB are split in runs instead of letters. Not tried: compiling and verifying on several threads; several scripts in one file.',
    },
    {
      name: 'scripts/again',
      job: 'the same command again: every seal is there, and is verified',
      unit: '/s',
    },
    {
      name: 'scripts/armed',
      job: 'one machine after another armed through the keyholder, each with a script signed for it alone',
      unit: '/s',
    },
    {
      name: 'scripts/cached',
      job: 'scripts of 1,000 machines fetched, 16 connections kept open (wrk)',
      unit: '/s',
      goal: { atLeast: 20_000 },
      limit:
        'An answer of Node’s own HTTP server takes most of it (see http-small). The rest is the decision (4 µs, machines/decide), a look whether the machine is armed, and its boot, which is followed through four events. A script that nobody asked for within a minute is verified again. Kept: whoever was never armed is known by one lstat that blocks, in the place of two by way of Node’s threads; a script that verified goes by the short way of small files; it is not linted again; who asks from behind one address is not gone through. Since the run of this table, answers of one turn of the event loop leave together: 10,900 a second, 101 µs each.',
    },
  ],
  async run({ folder, quick, rounds, say, tell }) {
    const machines = quick ? 8 : 1000;
    say('seals a release, and publishes it');
    const site = await sealedSite(folder, 1);
    const state = await publishSite(site, join(folder, 'state'));
    await writeMachines(state, machines, 0);
    const fresh: number[] = [];
    const again: number[] = [];
    let [ours, openssl] = ['', ''];
    for (let round = 0; round < rounds; round += 1) {
      say(`signs, round ${round + 1}`);
      const rate = await opensslRate(quick ? 1 : 3);
      const own = copyState(state, join(folder, `round-${round}`));
      const first = await applyMachines(site, own);
      fresh.push((2 * machines) / first.seconds / rate);
      again.push((2 * machines) / (await applyMachines(site, own)).seconds);
      ours = `${Math.round((2 * machines) / first.seconds)}/s, ${(first.processor ?? 0).toFixed(1)} s of processors`;
      openssl = `${Math.round(rate)}/s`;
      if (round < rounds - 1) await rm(own, { recursive: true });
    }
    tell('scripts/new', { values: fresh, ours, peer: openssl });
    tell('scripts/again', { values: again });
    const signed = join(folder, `round-${rounds - 1}`);
    say('arms');
    const armed = copyState(signed, join(folder, 'armed'));
    tell('scripts/armed', { values: await arm(folder, site, armed, quick ? 2 : 20) });
    say('fetches them again and again');
    tell('scripts/cached', await fetched(folder, site, signed, { machines, rounds, seconds: quick ? 1 : 5 }));
  },
};

/** Signatures a second by one core. */
async function opensslRate(seconds: number): Promise<number> {
  const { stdout } = await run('openssl', ['speed', '-mr', '-seconds', String(seconds), 'rsa3072']);
  // +F2:INDEX:BITS:SIGNATURES A SECOND:VERIFICATIONS A SECOND
  const line = /^\+F2:\d+:3072:([\d.e-]+):/m.exec(stdout);
  if (!line) throw new Error(`openssl speed said ${stdout}`);
  return Number(line[1]);
}

async function arm(folder: string, { keys, anchors, release }: SealedSite, state: string, count: number) {
  await mkdir(join(folder, 'run'), { mode: 0o700 });
  const socket = join(folder, 'run', 'socket');
  const words = ['--socket', socket, '--keys', keys, '--state', state, '--anchors', anchors];
  const child = spawn(BOOTSEAL[0], [BOOTSEAL[1], 'keyholder', ...words, '--script-keys', keys], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    await waitForOutput(child, 'stdout', /^The keyholder listens at /m);
    const client = new KeyholderClient({ socket });
    const rates: number[] = [];
    for (let at = 0; at < count; at += 1) {
      const begun = performance.now();
      const facts = { lasts: 3_600_000, afterwards: 'usual', loader: 'ipxe' } as const;
      await client.arm({ ...facts, mac: macOf(at), release, words: [] });
      rates.push(1000 / (performance.now() - begun));
    }
    return rates;
  } finally {
    await running(child).stop();
  }
}

async function fetched(
  folder: string,
  { anchors }: SealedSite,
  state: string,
  { machines, rounds, seconds }: { machines: number; rounds: number; seconds: number },
) {
  const script = join(folder, 'each.lua');
  // As a loader asks: `boot.ipxe?mac=…`, each machine in its turn.
  await writeFile(
    script,
    `local at = 0
request = function()
  at = (at + 1) % ${machines}
  return wrk.format("GET", string.format("/boot.ipxe?mac=52:54:00:00:%02x:%02x", math.floor(at / 256), at % 256))
end
`,
  );
  const product = await startProduct(['--state', state, '--anchors', anchors]);
  try {
    const asked = await fetch(`${product.url}/boot.ipxe?mac=${macOf(1)}`);
    if (!(await asked.text()).includes('http://10.0.0.1/1/')) throw new Error('another script was given');
    const values: number[] = [];
    const before = await processorTime(product.pid);
    let answers = 0;
    for (let round = -1; round < rounds; round += 1) {
      const { stdout } = await run('wrk', [
        ...['-t', '1', '-c', '16', '-d', `${seconds}s`, '-s', script],
        product.url,
      ]);
      const [, total, odd, rate] =
        /(\d+) requests in[\s\S]*?(Non-2xx[^\n]*\n)?Requests\/sec:\s+([\d.]+)/.exec(stdout) ?? [];
      if (rate === undefined || odd !== undefined) throw new Error(`wrk said ${stdout}`);
      answers += Number(total);
      if (round >= 0) values.push(Number(rate));
    }
    const each = ((await processorTime(product.pid)) - before) / answers;
    return { values, ours: `${(each * 1e6).toFixed(0)} µs of a processor each` };
  } finally {
    await product.stop();
  }
}
