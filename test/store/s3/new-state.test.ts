import assert from 'node:assert/strict';
import { it } from 'node:test';
import { openState } from '../../../src/store/state.ts';
import { readFormat } from '../../../src/store/state-format.ts';
import { stubState } from './stubs.ts';

it('a state that somebody else makes between two looks at it is one, and no place of another program', async () => {
  const { stub } = await stubState();
  const state = 's3://lab/new';
  let others = 0;
  stub.trick = async ({ method, key }) => {
    // The list of the bucket, which is asked for when "format" was not there.
    if (method === 'GET' && key === '' && others++ === 0) await (await openState(state)).release();
    return false;
  };
  assert.equal(await readFormat(state), 1);
  assert.equal(others > 1, true, 'it was made in between');
});
