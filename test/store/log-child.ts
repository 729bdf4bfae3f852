import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkpointSigner } from '../../src/publish/log-act.ts';
import { readSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { recordAct } from '../../src/store/log.ts';
import { actOf } from './logs.ts';

/** Appends acts without end, `STATE KEYS`, and tells the index of each once it is durable. To be killed. */
const [state = '', keys = ''] = process.argv.slice(2);
const sign = checkpointSigner(await readSnapshotKey(keys));
const seals = new Map([['boot.ipxe', await readFile(join(keys, 'anchors', 'snapshot.crt'))]]);
for (let count = 0; ; count += 1) {
  const { index } = await recordAct(state, actOf(count, { seals }), sign);
  process.stdout.write(`${index}\n`);
}
