import assert from 'node:assert/strict';
import { it } from 'node:test';
import { armedSite, MAC, SILENT } from '../fixtures/armed-site.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { runHere as run } from './here.ts';

const { state, keys } = await armedSite(await temporaryFolder());
const arm = ['machines', 'arm', MAC, '--release', SILENT, '--state', state, '--keys', keys];

it('arms, lists and disarms a machine, in words and in one object', async () => {
  const { code, out, err } = await run([...arm, '--for', '30m', '--then', 'usual']);
  assert.equal(code, 0, err);
  assert.match(
    out,
    /^52:54:00:12:34:56 boots arch\/2026\.11\.01 once, if it begins before \S+; then what it usually boots\.$/m,
  );
  assert.match(out, /^Warning: arch\/2026\.11\.01 does not report its boots/m);
  const listed = await run(['machines', 'armed', '--state', state, '--json']);
  const { machines } = JSON.parse(listed.out) as {
    machines: { mac: string; state: string; proof: string }[];
  };
  assert.deepEqual(
    machines.map(({ mac, state: now, proof }) => [mac, now, proof]),
    [[MAC, 'armed', 'files']],
  );
  const disarmed = await run(['machines', 'disarm', MAC, '--state', state]);
  assert.match(disarmed.out, /^52:54:00:12:34:56 boots as usual again; it was armed\.$/m);
  assert.match((await run(['machines', 'disarm', MAC, '--state', state])).out, /nothing was taken back/);
  assert.match((await run(['machines', 'armed', '--state', state])).out, /taken back/);
});

for (const [what, words] of [
  ['a time beyond a day', ['--for', '25h']],
  ['another loader', ['--loader', 'uki']],
  ['a third thing afterwards', ['--then', 'again']],
  ['a keyholder and keys', ['--keyholder', '/none']],
] as const)
  it(`${what} is a usage error`, async () => {
    const { code } = await run([...arm, ...words]);
    assert.equal(code, 2);
  });
