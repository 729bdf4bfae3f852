import { once } from 'node:events';
import { checkpointSigner } from '../../src/publish/log-act.ts';
import { readSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { recordAct } from '../../src/store/log.ts';
import { openExistingState } from '../../src/store/state.ts';

/** Appends acts to a log that others append to: `STATE KEYS WRITER COUNT`, from when it is told to go on. */
const [state = '', keys = '', writer = '', count = ''] = process.argv.slice(2);
const sign = checkpointSigner(await readSnapshotKey(keys));
const opened = await openExistingState(state);
process.stdout.write('ready\n');
await once(process.stdin, 'data');
for (let act = 0; act < Number(count); act += 1) {
  const origin = `writer ${writer}, act ${String(act).padStart(3, '0')}`;
  const seals = new Map([['boot.ipxe', Buffer.from(origin)]]);
  await recordAct(
    state,
    { time: Date.now(), act: 'publish', release: 'arch/2026.11.01', origin, seals },
    sign,
  );
}
await opened.release();
process.exit();
