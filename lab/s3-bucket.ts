import { randomBytes } from 'node:crypto';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { CephNode, S3Keys } from './ceph.ts';

/** A client as an administrator has it. */
export function s3Client(node: CephNode, keys: S3Keys = node.keys): S3Client {
  return new S3Client({
    endpoint: node.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: keys.accessKey, secretAccessKey: keys.secretKey },
  });
}

/** Makes a bucket that no other test knows. @returns its name. */
export async function newBucket(node: CephNode): Promise<string> {
  const name = `lab-${randomBytes(6).toString('hex')}`;
  const client = s3Client(node);
  await client.send(new CreateBucketCommand({ Bucket: name }));
  client.destroy();
  return name;
}
