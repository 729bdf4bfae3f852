import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { emitTo } from '../../src/serve/emit.ts';

test('a listener that throws stops neither the others nor who tells', () => {
  const event: ServerEvent = { kind: 'fault', server: 'nbd', error: new Error('disk'), what: 'close a file' };
  const heard: ServerEvent[] = [];
  const thrown: unknown[] = [];
  const failure = new Error('listener');
  const emit = emitTo(
    [
      () => {
        throw failure;
      },
      (each) => heard.push(each),
    ],
    (error, about) => thrown.push(error, about),
  );
  emit(event);
  assert.deepEqual(heard, [event]);
  assert.deepEqual(thrown, [failure, event]);
});
