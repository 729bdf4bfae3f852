import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { appendFile, cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verify } from '../../../src/conformance/verify.ts';
import { TEMPORARY } from '../../../src/files/atomic-file.ts';
import { attach } from '../../../src/operations/request.ts';
import { NOW } from '../../fixtures/keys.ts';
import { KERNEL, sealFixture } from '../../fixtures/release.ts';
import { answer, makeRequest } from '../../fixtures/signing-request.ts';
import { changed, look } from '../judges.ts';
import { copyOf, fresh, keys, response } from './attach-site.ts';

const CHILD = fileURLToPath(new URL('attach-child.js', import.meta.url));

function attachIn(tree: string, answers: string, stop?: number) {
  const args = [CHILD, tree, answers, ...(stop === undefined ? [] : [String(stop)])];
  const { signal, stdout } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  return { signal, steps: stdout === '' ? [] : (JSON.parse(stdout) as { steps: string[] }).steps };
}

const isTemporary = (name: string) => TEMPORARY.test(name.slice(name.lastIndexOf('/') + 1));
const verdict = async (tree: string) => (await verify({ tree, anchors: keys, now: NOW })).refusal?.message;

// An undisturbed run says which steps there are, and what a whole tree is.
const bare = await copyOf();
const whole = await copyOf();
const { steps } = attachIn(whole, response);

// The same for a tree that was sealed, and whose kernel was then replaced.
const replaced = await copyOf();
await sealFixture(replaced, keys);
await appendFile(join(replaced, KERNEL), 'x');
const again = fresh('response');
await answer(await makeRequest(replaced, keys, fresh('request')), [keys], again);
const replacedWhole = await copyOf(replaced);
const later = attachIn(replacedWhole, again).steps;

/** Every kind of step, and steps as chance has them. */
function stops(of: readonly string[]): number[] {
  const each = ['progress', 'created', 'half written', 'written', 'renamed'].flatMap((name) => {
    const all = of.flatMap((found, at) => (found === name ? [at] : []));
    return [all[0], all.at(-1)];
  });
  const random = Array.from({ length: 6 }, () => Math.floor(Math.random() * of.length));
  return [...new Set([...each, ...random].filter((at) => at !== undefined))].sort((a, b) => a - b);
}

describe('an attach that is killed', () => {
  it('has the steps that this test stops it at', async () => {
    const files = look(whole).size - look(bare).size;
    assert.equal(steps.filter((name) => name === 'renamed').length, files);
    assert.ok(steps.filter((name) => name === 'progress').length > 4);
    assert.equal(await verdict(whole), undefined);
    assert.equal(await verdict(replacedWhole), undefined);
  });

  for (const [what, before, answers, after, of] of [
    ['of a bare tree', bare, response, whole, steps],
    ['of a tree that was sealed otherwise', replaced, again, replacedWhole, later],
  ] as const) {
    for (const at of stops(of)) {
      it(`${what} at step ${at} (${of[at]}) leaves each file as it was or as it shall be, and the next one completes it`, async () => {
        const tree = fresh('tree');
        await cp(before, tree, { recursive: true, preserveTimestamps: true });
        assert.deepEqual(attachIn(tree, answers, at), { signal: 'SIGKILL', steps: [] });

        const found = look(tree);
        const temporaries = [...found.keys()].filter(isTemporary);
        assert.equal(temporaries.length, /progress|renamed/.test(of[at] ?? '') ? 0 : 1);
        const old = new Set(changed(look(before), found));
        const torn = changed(look(after), found).filter((name) => old.has(name) && !isTemporary(name));
        assert.deepEqual(torn, [], 'neither the old file nor the new one');
        const renamed = of.slice(0, at + 1).filter((name) => name === 'renamed').length;
        assert.equal(old.size - temporaries.length, renamed);
        if (renamed < of.filter((name) => name === 'renamed').length)
          assert.notEqual(await verdict(tree), undefined);

        await attach({ tree, responses: [answers] });
        assert.deepEqual(changed(look(after), look(tree)), []);
        await rm(tree, { recursive: true });
      });
    }
  }
});
