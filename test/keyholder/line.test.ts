import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Socket } from 'node:net';
import { describe, it } from 'node:test';
import { readLine } from '../../src/keyholder/line.ts';

describe('a line from a connection', () => {
  it('is none, and is not waited for, where the connection was ended before', async () => {
    const connection = new Socket();
    connection.destroy();
    await once(connection, 'close');
    assert.equal(await readLine('request', connection), undefined);
  });
});
