import { after } from 'node:test';
import { S3Stub, type StubHabits } from '../../../lab/s3-stub.ts';
import { S3Backend } from '../../../src/store/s3/backend.ts';
import { bucketPlace } from '../../../src/store/s3/location.ts';

/** What no message may hold. */
export const SECRET = 'not-to-be-seen-by-anybody';

const PATIENT = { silent: 20_000, whole: 60_000 };
/** For an engine that is known to stay silent: how long is waited for it decides nothing. */
export const HASTY = { silent: 300, whole: 900 };

/** A state in a bucket of an engine that this test file has for itself. The environment then names that engine. */
export async function stubState(habits: StubHabits = {}, patience = PATIENT) {
  const stub = await S3Stub.start('lab', habits);
  after(() => stub.stop());
  Object.assign(process.env, {
    AWS_ENDPOINT_URL_S3: stub.endpoint,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'someone',
    AWS_SECRET_ACCESS_KEY: SECRET,
  });
  const backend = new S3Backend(bucketPlace('s3://lab/state'), { patience });
  // The SDK reads its environment when it is first asked.
  await backend.get('nothing');
  return { stub, backend };
}
