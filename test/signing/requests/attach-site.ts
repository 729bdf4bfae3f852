import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import type { RefusalCode } from '../../../src/errors/refusal.ts';
import { attach } from '../../../src/operations/request.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeKeys } from '../../fixtures/keys.ts';
import { answer, Bundle, makeRequest, wholeTree } from '../../fixtures/signing-request.ts';
import { refused } from '../../trust/judge.ts';

/** A tree, its request and the whole answer to it, for tests that spoil one of them. */

const folder = await temporaryFolder();
let names = 0;
/** A name that nothing has yet. */
export const fresh = (name: string): string => join(folder, `${name}-${names++}`);
export const keys = await makeKeys(fresh('keys'));
export const other = await makeKeys(fresh('keys'), { site: 'elsewhere' });
export const bare = await wholeTree(fresh('bare'));
export const request = await makeRequest(bare, keys, fresh('request'));
export const response = fresh('response');
await answer(request, [keys], response);
export const whole = await Bundle.read(response);

/** A tree of one's own. */
export async function copyOf(tree = bare): Promise<string> {
  const copy = fresh('tree');
  await cp(tree, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  return copy;
}

/** Refused by that name, the tree as it was to the byte, the time and the inode, and nothing left behind. */
export async function demandRefused(
  tree: string,
  responses: readonly string[],
  code: RefusalCode,
  fact: RegExp,
): Promise<void> {
  const state = () =>
    execFileSync('sh', ['-c', 'find . -printf "%p %y %i %T@ %C@ %s\\n" | sort'], {
      cwd: tree,
      encoding: 'utf8',
    });
  const before = state();
  await assert.rejects(attach({ tree, responses }), refused(code, fact));
  assert.equal(state(), before);
}
