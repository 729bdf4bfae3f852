import { Refusal } from '../../errors/refusal.ts';
import { type CommandTable, couldNot, KEEP, QUIET, TIMEOUT } from './command.ts';
import { acquire } from './download.ts';
import { type Status, verifyFailure } from './failure.ts';
import type { Image } from './images.ts';
import type { State } from './state.ts';
import { formatUri } from './uri.ts';

/** Sources: iPXE `src/hci/commands/image_trust_cmd.c`, `src/usr/imgtrust.c`, `src/crypto/cms.c`. */
export const trustCommands: CommandTable = {
  imgtrust: {
    build: 'imgtrust',
    options: [
      { long: 'allow', short: 'a', kind: 'flag' },
      { long: 'permanent', short: 'p', kind: 'flag' },
    ],
    min: 0,
    max: 0,
    run: ({ state, flags }) => {
      const { images } = state;
      const failure = images.setTrust(!flags.has('allow'), flags.has('permanent'));
      if (failure !== undefined) return couldNot(state, 'set image trust requirement', failure);
      state.event({ kind: 'trust-required', required: images.requireTrust, permanent: images.isPermanent() });
      return undefined;
    },
  },
  imgverify: {
    build: 'imgtrust',
    options: [{ long: 'signer', short: 's', kind: 'string' }, KEEP, TIMEOUT, QUIET],
    min: 2,
    max: 2,
    usage: '<uri|image> <signature uri|image>',
    run: async ({ state, args, strings, flags }) => {
      const [imageName = '', signatureName = ''] = args;
      const quiet = flags.has('quiet');
      const image = await acquire(state, imageName, quiet);
      // A download that fails leaves what is already there as it is: registered, and as trusted as before.
      if ('failure' in image) return image.failure;
      const signature = await acquire(state, signatureName, quiet);
      if ('failure' in signature) return signature.failure;
      const failure = await verifyImage(state, image, signature, strings.get('signer'));
      if (!flags.has('keep')) state.images.unregister(signature);
      return failure;
    },
  },
};

async function verifyImage(
  state: State,
  image: Image,
  signature: Image,
  signer: string | undefined,
): Promise<Status> {
  const refusal = await verdict(state, image, signature, signer);
  const verification = {
    image: image.name,
    url: image.uri === undefined ? undefined : formatUri(image.uri),
    signatureUrl: signature.uri === undefined ? undefined : formatUri(signature.uri),
    signer,
    refusal,
  };
  state.verifications.push(verification);
  state.event({ kind: 'verification', ...verification });
  if (refusal === undefined) {
    image.trusted = true;
    image.signer = signer;
    state.event({ kind: 'log', text: `Image "${image.name}" signature OK` });
    return undefined;
  }
  // iPXE takes trust away before it looks at the signers, but only once the message has been read: bytes
  // that are no CMS leave an image as trusted as it was.
  if (refusal.code !== 'malformed') image.trusted = false;
  const failure = verifyFailure(refusal);
  state.event({ kind: 'log', text: `Image "${image.name}" signature bad: ${failure.text}` });
  return couldNot(state, 'verify', failure);
}

async function verdict(
  state: State,
  image: Image,
  signature: Image,
  signer: string | undefined,
): Promise<Refusal | undefined> {
  try {
    await state.options.verify(image.bytes, signature.bytes, signer, state.now);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
