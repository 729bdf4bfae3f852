import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { describe, it } from 'node:test';
import { makePipe } from '../../lab/pipe.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

/** Writes so many single bytes, and ends with 1 where there is no room for one: QEMU drops it then. */
const WRITER = `
  const { writeSync } = require('fs');
  try { for (let i = 0; i < 20_000; i++) writeSync(1, 'x'); } catch { process.exitCode = 1; }`;

describe('the pipe of a serial console', () => {
  it('holds 20,000 single bytes while nobody reads', async () => {
    const { writer, reader } = await makePipe(await temporaryFolder());
    const child = spawn(process.execPath, ['-e', WRITER], { stdio: ['ignore', writer, 'inherit'] });
    closeSync(writer);
    const [status] = await once(child, 'exit');
    assert.equal(status, 0);
    assert.equal((await text(reader)).length, 20_000);
  });
});
