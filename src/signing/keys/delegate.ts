import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { unreadable } from '../../errors/unreadable.ts';
import { UsageError } from '../../errors/usage.ts';
import { makeFolders } from '../../files/make-folders.ts';
import { demandOwn } from '../../files/own-folder.ts';
import { isThere, namesIfThere } from '../../files/read-if-there.ts';
import { encodePem } from '../../formats/asn1/armor.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { readCertificatesFile } from '../../trust/certificates-file.ts';
import { isIssuedBy } from '../seal-plan.ts';
import { MOST_DAYS } from './delegate-days.ts';
import { type OnOldDrafts, writeKeyFolder } from './init.ts';
import { ISSUING_CA } from './key-folder.ts';
import { type MakeKeyPair, newKeyPair } from './key-pair.ts';
import { accessOf, type KeyAccess } from './passphrase.ts';
import { readProfile } from './profiles.ts';
import { certify } from './release-leaf.ts';
import { readLoaderSealingKeys } from './sealing-keys.ts';

const DAY = 86_400_000;
export interface DelegateOptions extends KeyAccess {
  /** An `init` folder with the key of the CA. */
  readonly keys: string;
  /** Gets a folder for each day, `2026-11-01`, of the shape of an `init` folder. */
  readonly out: string;
  readonly days: number;
  /** Milliseconds since 1970: leaves begin with this day, UTC. */
  readonly from: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Overrides the profile's RSA modulus length. */
  readonly rsaBits?: number;
  readonly makeKeyPair?: MakeKeyPair;
  readonly onDay?: (done: number, of: number) => void;
  readonly onOldDrafts?: OnOldDrafts;
}

export interface Delegated {
  /** Common name of every leaf. */
  readonly commonName: string;
  /** `2026-11-01`, in order. */
  readonly made: readonly string[];
  /** Those that were there before. */
  readonly kept: readonly string[];
}

/**
 * Issues a boot leaf for each of the days ahead, so that the CA is not needed on any of them. Each is good for its day,
 * midnight to midnight UTC: iPXE takes 12.5 hours more at both ends, for clocks in local time. A day that is there
 * already is left as it is, so that a run which was cut short is done again.
 *
 * @throws UsageError, Refusal, IoError; days that were finished stay.
 */
export async function delegateBootLeaves(options: DelegateOptions): Promise<Delegated> {
  const { keys, out, days, now, makeKeyPair = newKeyPair } = options;
  if (!Number.isSafeInteger(days) || days < 1 || days > MOST_DAYS)
    throw new UsageError(`Leaves are issued for 1 to ${MOST_DAYS} days at once, not for ${days}.`);
  const { ca, boot } = await readLoaderSealingKeys(keys, now, accessOf(options));
  const { commonName, key } = boot.certificate;
  const kind = key.type === 'rsa' ? 'rsa' : 'p256';
  const bits = options.rsaBits ?? readProfile('boot').rsa_bits;
  const first = Math.floor(options.from / DAY) * DAY;
  const last = first + days * DAY;
  if (last > ca.certificate.notAfter)
    throw new UsageError(`The CA of ${keys} ends before ${day(last)}; issue fewer days, or replace it.`);
  if (first < Math.floor(ca.certificate.notBefore / DAY) * DAY)
    throw new UsageError(`The CA of ${keys} begins after ${day(first)}; begin later.`);
  if (last <= now)
    throw new UsageError(`The last day, ${day(last - DAY)}, is over; name a later one to begin with.`);
  await makeFolders(out, 0o700);
  await demandOwn(out);
  const made: string[] = [];
  const kept: string[] = [];
  for (let at = first; at < last; at += DAY) {
    const folder = join(out, day(at));
    if ((await namesIfThere(folder)).length > 0) {
      await demandLeafOf(join(folder, 'anchors', 'boot.crt'), commonName, at, ca.certificate);
      kept.push(day(at));
    } else {
      const { publicKey, privateKey } = await makeKeyPair(kind, bits);
      const order = { commonName, notBefore: at, notAfter: at + DAY, kind, bits } as const;
      const leaf = await certify(order, publicKey, ca);
      await writeKeyFolder(
        folder,
        async (draft) => {
          for (const name of ['ca.crt', ISSUING_CA]) {
            const path = join(keys, 'anchors', name);
            if (await isThere(path)) await draft.anchor(name, await whole(path));
          }
          await draft.anchor('boot.crt', Buffer.from(encodePem('CERTIFICATE', leaf.raw)));
          await draft.secret('boot.key', Buffer.from(privateKey.export({ format: 'pem', type: 'pkcs8' })));
        },
        options.onOldDrafts,
      );
      made.push(day(at));
    }
    options.onDay?.(made.length + kept.length, days);
  }
  return { commonName, made, kept };
}

/** A day that is there is kept, and said to be: a leaf of another site would be found out by the machines. */
async function demandLeafOf(path: string, commonName: string, at: number, ca: Certificate): Promise<void> {
  const [leaf] = await readCertificatesFile(path);
  if (leaf.commonName === commonName && leaf.notBefore === at && isIssuedBy(leaf, ca)) return;
  throw new UsageError(
    `${path} is not a leaf of ${commonName} by the CA of these keys for that day; name another folder.`,
  );
}

function day(at: number): string {
  return new Date(at).toISOString().slice(0, 10);
}

function whole(path: string): Promise<Buffer> {
  return readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
}
