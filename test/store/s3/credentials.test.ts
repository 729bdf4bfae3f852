import assert from 'node:assert/strict';
import dns from 'node:dns';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, mock } from 'node:test';
import { inspect } from 'node:util';
import { refuse, type S3Stub } from '../../../lab/s3-stub.ts';
import { IoError } from '../../../src/errors/io.ts';
import { UsageError } from '../../../src/errors/usage.ts';
import { S3Backend } from '../../../src/store/s3/backend.ts';
import { bucketPlace } from '../../../src/store/s3/location.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { SECRET, stubState } from './stubs.ts';

const bytes = (text: string) => Buffer.from(text);

/** Only these keys are good. */
function onlyFor(stub: S3Stub, keys: Set<string>, code = 'ExpiredToken'): void {
  stub.trick = (request) => {
    const [, key = ''] = /Credential=([^/]+)\//.exec(request.message.headers.authorization ?? '') ?? [];
    if (keys.has(key)) return false;
    refuse(request, code === 'ExpiredToken' ? 400 : 403, code);
    return true;
  };
}

/** The environment names files, and no keys. */
async function withFiles(): Promise<{ readonly credentials: string; readonly config: string }> {
  const folder = await temporaryFolder();
  const credentials = join(folder, 'credentials');
  const config = join(folder, 'config');
  delete process.env.AWS_ACCESS_KEY_ID;
  delete process.env.AWS_SECRET_ACCESS_KEY;
  Object.assign(process.env, {
    AWS_SHARED_CREDENTIALS_FILE: credentials,
    AWS_CONFIG_FILE: config,
    AWS_EC2_METADATA_DISABLED: 'true',
  });
  return { credentials, config };
}

const keysIn = (key: string) => `[default]\naws_access_key_id = ${key}\naws_secret_access_key = ${SECRET}\n`;

describe('credentials that end while a process runs', () => {
  for (const code of ['ExpiredToken', 'InvalidAccessKeyId'])
    it(`others in the credentials file are taken up (${code})`, async () => {
      const { stub } = await stubState();
      const { credentials } = await withFiles();
      await writeFile(credentials, keysIn('first'));
      const backend = new S3Backend(bucketPlace('s3://lab/state'));
      const good = new Set(['first']);
      onlyFor(stub, good, code);
      await backend.put('k', bytes('1'));
      good.clear();
      await assert.rejects(backend.put('k', bytes('2')), (error) => {
        assert.ok(error instanceof IoError, inspect(error));
        assert.match(error.message, /no longer good|does not know this access key/);
        assert.ok(!inspect(error).includes(SECRET));
        return true;
      });
      good.add('second');
      await writeFile(credentials, keysIn('second'));
      await Promise.all([backend.put('k', bytes('3')), backend.put('l', bytes('3'))]);
      assert.equal((await backend.facts('k'))?.size, 1);
      assert.equal(stub.objects.get('state/k')?.bytes.toString(), '3');
    });

  it('a program that is asked for them is asked again when what it said has ended', async () => {
    const { stub } = await stubState();
    const { credentials, config } = await withFiles();
    const program = join(await temporaryFolder(), 'keys');
    const said = async (key: string) => {
      const json = JSON.stringify({ Version: 1, AccessKeyId: key, SecretAccessKey: SECRET });
      await writeFile(program, `#!/bin/sh\nprintf '%s' '${json}'\n`);
      await chmod(program, 0o700);
    };
    await writeFile(credentials, '');
    await writeFile(config, `[default]\ncredential_process = ${program}\n`);
    await said('first');
    const backend = new S3Backend(bucketPlace('s3://lab/state'));
    const good = new Set(['first']);
    onlyFor(stub, good);
    await backend.put('k', bytes('1'));
    good.clear();
    good.add('second');
    await said('second');
    await backend.put('k', bytes('2'));
    assert.equal(stub.objects.get('state/k')?.bytes.toString(), '2');
  });
});

it('without credentials it is said how to give them', async () => {
  await stubState();
  await withFiles();
  const backend = new S3Backend(bucketPlace('s3://lab/state'));
  await assert.rejects(backend.get('k'), (error) => {
    assert.ok(error instanceof IoError, inspect(error));
    assert.match(error.message, /there are no credentials for the bucket "lab" at http:.*AWS_ACCESS_KEY_ID/);
    return true;
  });
});

describe('where the engine is', () => {
  const asks = (variables: NodeJS.ProcessEnv, says: RegExp) => async () => {
    await stubState();
    for (const name of ['AWS_ENDPOINT_URL_S3', 'AWS_REGION', 'AWS_CONFIG_FILE']) delete process.env[name];
    Object.assign(process.env, variables);
    const backend = new S3Backend(bucketPlace('s3://lab/state'));
    await assert.rejects(backend.get('k'), (error) => {
      assert.ok(error instanceof UsageError, inspect(error));
      assert.match(error.message, says);
      assert.ok(!inspect(error).includes(SECRET));
      return true;
    });
    delete process.env.BOOTSEAL_S3_PATH_STYLE;
  };
  it(
    'neither region nor endpoint',
    asks({ AWS_CONFIG_FILE: '/dev/null' }, /needs AWS_REGION, or AWS_ENDPOINT_URL_S3/),
  );
  it(
    'a password in the endpoint',
    asks({ AWS_ENDPOINT_URL_S3: `http://someone:${SECRET}@127.0.0.1/` }, /must be "http:/),
  );
  it('a path in the endpoint', asks({ AWS_ENDPOINT_URL_S3: 'http://127.0.0.1/x' }, /must be "http:/));
  it(
    'a style that is none',
    asks({ AWS_ENDPOINT_URL_S3: 'http://127.0.0.1:9', BOOTSEAL_S3_PATH_STYLE: '1' }, /is "yes" or "no"/),
  );

  it('by host name, where that was said', async () => {
    const { stub } = await stubState();
    const hosts: (string | undefined)[] = [];
    stub.trick = ({ message, response }) => {
      hosts.push(message.headers.host);
      response.end();
      return true;
    };
    process.env.AWS_ENDPOINT_URL_S3 = stub.endpoint.replace('127.0.0.1', 's3.example');
    mock.method(
      dns,
      'lookup',
      (_: string, options: dns.LookupOptions, done: (...answer: unknown[]) => void) =>
        options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4),
    );
    for (const style of ['no', 'yes']) {
      process.env.BOOTSEAL_S3_PATH_STYLE = style;
      await assert.rejects(new S3Backend(bucketPlace('s3://lab/state')).get('k'), IoError);
    }
    delete process.env.BOOTSEAL_S3_PATH_STYLE;
    const port = stub.endpoint.split(':').at(-1);
    assert.deepEqual([hosts.at(0), hosts.at(-1)], [`lab.s3.example:${port}`, `s3.example:${port}`]);
  });
});
