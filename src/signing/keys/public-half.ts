import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { readWhole } from '../../files/reading.ts';
import type { OpenpgpKey } from '../../formats/openpgp/openpgp-key.ts';
import { KEYRINGS, type OpenpgpPurpose } from '../../trust/anchors.ts';
import type { LoaderSignatories, Signatories } from '../signatories.ts';
import { readAuthority, readSignatory } from './key-folder.ts';
import { choosePublic } from './openpgp-choice.ts';
import { demandCommonName, demandSigningKind } from './suitable-certificate.ts';

/** The public halves in an `anchors/` folder: whose seals a tree shall get. Throws a `Refusal` or a `UsageError`. */
export function readSignatories(anchors: string, now: number | undefined): Promise<Signatories> {
  return configured(() => signatoriesIn(anchors, now));
}

async function signatoriesIn(anchors: string, now: number | undefined): Promise<Signatories> {
  const loader = await readLoaderSignatories(anchors, now);
  const leaf = (name: string) =>
    readSignatory(join(anchors, `${name}.crt`), now, 'digitalSignature', loader.ca);
  const openpgp = (purpose: OpenpgpPurpose) => readOpenpgpPublic(join(anchors, KEYRINGS[purpose]), now);
  return {
    ...loader,
    codesign: await leaf('codesign'),
    manifest: await leaf('manifest'),
    openpgp: {
      payload: await openpgp('payload'),
      script: await openpgp('script'),
      manifest: await openpgp('manifest'),
    },
  };
}

export function readLoaderSignatories(anchors: string, now: number | undefined): Promise<LoaderSignatories> {
  return configured(async () => {
    const { path, ca, above } = await readAuthority(anchors, now);
    demandSigningKind(path, ca);
    const bootPath = join(anchors, 'boot.crt');
    const boot = await readSignatory(bootPath, now, 'digitalSignature', ca);
    demandCommonName(bootPath, boot);
    return { ca, above, boot };
  });
}

/** What such a folder lacks is the operator's mistake: no tree was judged. */
async function configured<Result>(read: () => Promise<Result>): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== 'absent') throw error;
    throw new UsageError(
      `${error.message} "bootseal init" makes it; keys of an earlier Bootseal lack those for records.`,
    );
  }
}

/**
 * The RSA key of a keyring that signs, by `choosePublic`. Throws a `Refusal`.
 *
 * @param now undefined: whether it is in its time is not asked.
 */
export async function readOpenpgpPublic(path: string, now: number | undefined): Promise<OpenpgpKey> {
  return choosePublic({ path, bytes: await readWhole(path) }, now);
}
