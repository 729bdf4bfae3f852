import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../../../src/errors/usage.ts';
import { recordsOf } from '../../../src/store/folder-backend.ts';
import { S3Backend } from '../../../src/store/s3/backend.ts';
import { bucketPlace, isBucketState } from '../../../src/store/s3/location.ts';

it('a place in a bucket is a bucket and names below it', () => {
  assert.deepEqual(bucketPlace('s3://site'), { state: 's3://site', bucket: 'site', prefix: '' });
  assert.deepEqual(bucketPlace('s3://my.site-1/boot/v2'), {
    state: 's3://my.site-1/boot/v2',
    bucket: 'my.site-1',
    prefix: 'boot/v2/',
  });
});

it('what means anything else is refused, and no folder is made of it', () => {
  for (const text of [
    's3:',
    's3:/site',
    's3://',
    's3://a',
    's3:///a',
    's3://Site',
    's3://site/',
    's3://site//a',
    's3://site/a/',
    's3://site/../a',
    's3://site/.a',
    's3://site/a b',
    's3://site/a\n',
    's3://site?x',
    's3://site/a?x',
    's3://key:secret@site/a',
    's3://a..b/c',
    's3://-site/a',
    'S3://site/a',
    `s3://site/${'a'.repeat(255)}/b`,
    `s3://${'a'.repeat(64)}/b`,
  ]) {
    assert.ok(isBucketState(text), text);
    assert.throws(() => bucketPlace(text), UsageError, text);
    assert.throws(() => recordsOf(text), UsageError, text);
  }
  for (const text of ['/srv/s3', './s3://x', 'site', 's3', '']) assert.ok(!isBucketState(text), text);
});

it('one place has one backend, whoever asks', () => {
  const records = recordsOf('s3://site/a');
  assert.ok(records instanceof S3Backend);
  assert.equal(recordsOf('s3://site/a'), records);
  assert.notEqual(recordsOf('s3://site/b'), records);
});

it('the SDK is loaded when a bucket is asked, and by nobody else', () => {
  const src = fileURLToPath(new URL('../../../../src', import.meta.url));
  const found = readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .filter((name) =>
      /^import (?!type )[^;]*'@(aws-sdk|smithy)\//ms.test(readFileSync(join(src, name), 'utf8')),
    );
  assert.deepEqual(found, []);
});
