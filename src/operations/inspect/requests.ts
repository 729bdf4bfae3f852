import { Malformed } from '../../errors/malformed.ts';
import { isImageRequest } from '../../formats/records/image-request.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { decodeBundle } from '../../formats/records/request-bundle.ts';
import { scriptFile } from '../../formats/records/script-batch.ts';
import { decodeScriptsRequest, isScriptsRequest } from '../../formats/records/scripts-request.ts';
import { isSealName, SEAL } from '../../formats/records/seal-names.ts';
import {
  decodeSigningRequest,
  type SigningRequest,
  signatureNumber,
} from '../../formats/records/signing-request.ts';
import { answerName, INDEX, sealName } from '../../signing/requests/request-files.ts';
import type { Facts, Recognised } from './facts.ts';
import { imageRequestFacts } from './images.ts';

/** A bundle of questions, with or without answers. Throws `Malformed`. */
export function inspectBundle(bytes: Uint8Array): Recognised {
  const { files } = decodeBundle(bytes);
  const index = files.get(INDEX);
  if (!index) throw new Malformed('request bundle', 'has no index');
  const facts = isScriptsRequest(index)
    ? scriptsRequestFacts(index, files)
    : isImageRequest(index)
      ? imageRequestFacts(index, files)
      : requestFacts(decodeSigningRequest(index), files);
  // A request for scripts carries the seals of its manifests.
  const answers = isScriptsRequest(index) ? /^scripts\// : /^(digests|records|scripts)\//;
  const answered = [...files.keys()].some((name) => answers.test(name) && isSealName(name));
  return { kind: answered ? 'signing-response' : 'signing-request', facts };
}

/** Of scripts that machines get by name: facts travel, and no script before it was signed. */
function scriptsRequestFacts(index: Uint8Array, files: ReadonlyMap<string, Uint8Array>): Facts {
  const { channel, manifests, kept, rules, scripts } = decodeScriptsRequest(index);
  const isAnswered = (script: (typeof scripts)[number]) => files.has(scriptFile(script) + SEAL.openpgp);
  return {
    channel,
    rules,
    answered: scripts.filter(isAnswered).length,
    asked: scripts.length,
    manifests: [...manifests, ...kept].map((one) => ({ ...one })),
    scripts: scripts.map((script) => ({
      key: script.key,
      machines: script.arch ?? 'any',
      loader: script.loader,
      boots: script.release ?? 'no release',
      answered: isAnswered(script) ? 'yes' : 'no',
      sha256: script.sha256,
    })),
  };
}

/** @param files of the bundle, where there is one: they tell what was answered. */
export function requestFacts(request: SigningRequest, files?: ReadonlyMap<string, Uint8Array>): Facts {
  const { release, manifestSha256, openpgp, certificates, leaves, records, kept, signatures, texts } =
    request;
  return {
    release,
    manifest: manifestSha256,
    openpgp: openpgp.map((key) => ({ ...key })),
    answered:
      files &&
      [...signatures.map(answerName), ...texts.map(sealName)].filter((name) => files.has(name)).length,
    asked: signatures.length + texts.length,
    certificates: certificates.map((certificate) => ({ ...certificate })),
    leaves: leaves.map(({ notBefore, notAfter, ...leaf }) => ({
      ...leaf,
      notBefore: isoSeconds(notBefore),
      notAfter: isoSeconds(notAfter),
    })),
    records: records.map(({ size, sha256, path }) => ({ size, sha256, path })),
    kept: kept.map((seal) => ({ ...seal })),
    questions: signatures.map((asked) => ({
      number: signatureNumber(asked.number),
      key: asked.key,
      algorithm: asked.algorithm,
      answered: files && (files.has(answerName(asked)) ? 'yes' : 'no'),
      digest: asked.digest,
      size: asked.size,
      seal: asked.path + asked.suffix,
    })),
    texts: texts.map((asked) => ({
      key: asked.key,
      algorithm: asked.algorithm,
      answered: files && (files.has(sealName(asked)) ? 'yes' : 'no'),
      seal: asked.path + asked.suffix,
    })),
  };
}
