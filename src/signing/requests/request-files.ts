import { otherCaOf, RECORD } from '../../formats/records/seal-names.ts';
import {
  type RequestedSignature,
  type RequestedText,
  signatureNumber,
} from '../../formats/records/signing-request.ts';
import type { OpenpgpKeyName } from '../seal-keys.ts';

/** The files of a bundle, by whose names questions and answers find each other. */

export const INDEX = 'index';

export function certificateName(key: string): string {
  return `certificates/${key}.crt`;
}

export function openpgpName(key: OpenpgpKeyName): string {
  return `certificates/${key}.gpg`;
}

/** Of payload: a digest, and beside it the bare signature over it. */
export function questionName({ number, key }: RequestedSignature): string {
  return `digests/${signatureNumber(number)}.${key}`;
}

export function answerName(asked: RequestedSignature): string {
  return `${questionName(asked)}.sig`;
}

/** A record or script, as it shall be signed. */
export function textName(path: string): string {
  return `${isScript(path) ? 'scripts' : 'records'}/${path}`;
}

/** Its seal, whole: openssl and gpg write it beside the file. */
export function sealName({ path, suffix }: RequestedText): string {
  return textName(path) + suffix;
}

/** Whether a loader runs it. */
export function isScript(path: string): boolean {
  return path === RECORD.bootIpxe || path === RECORD.grubCfg || otherCaOf(path) !== undefined;
}
