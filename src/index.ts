/** The verbs of the command line, typed, for test harnesses and for programs. */
export { Refusal, type RefusalCode } from './release/refusal.ts';
export { type BootImageRequest, type BootRequest, boot, bootImage } from './verbs/boot.ts';
export { type ShownChannel, showChannel } from './verbs/channel.ts';
export { type Configuration, readConfiguration } from './verbs/configuration.ts';
export {
  type AttachImageOptions,
  attachImage,
  type ImageAttached,
  type ImageRequested,
  type ImageRequestOptions,
  requestImageSignature,
  type SignImageRequestOptions,
  signImageRequest,
} from './verbs/image-request.ts';
export { type InitOptions, init } from './verbs/init.ts';
export { type Fact, type Facts, type Inspection, type InspectRequest, inspect } from './verbs/inspect.ts';
export {
  buildKeyring,
  checkKeyring,
  type KeyringBuild,
  type KeyringBuildRequest,
  type KeyringReport,
  type KeyringRequest,
} from './verbs/keyring.ts';
export { type RotateKeysRequest, rotateKeys } from './verbs/keys-rotate.ts';
export { type KeysStatus, type KeysStatusRequest, keysStatus, type StatusItem } from './verbs/keys-status.ts';
export { buildGrubLoaders, embeddedScript, type GrubRequest } from './verbs/loaders.ts';
export {
  type CheckLogProofRequest,
  type CheckLogRequest,
  checkLog,
  checkLogProof,
  type ProveLogRequest,
  proveLog,
  type ShowLogRequest,
  showLog,
} from './verbs/log.ts';
export { type OverlayRequest, type OverlayResult, overlay } from './verbs/overlay.ts';
export {
  type ChannelRequest,
  type MovedChannel,
  type PublishRequest,
  type PublishResult,
  publish,
  type RollbackRequest,
  renewChannel,
  rollbackChannel,
} from './verbs/publish.ts';
export type { GateRow } from './verbs/publish-gate.ts';
export {
  type AttachRequest,
  type AttachResult,
  attach,
  type RequestMade,
  type RequestSigned,
  requestSignatures,
  type SigningRequestOptions,
  type SignRequestOptions,
  signRequest,
} from './verbs/request.ts';
export { type RestoreRequest, restoreRelease } from './verbs/resign/restore.ts';
export { type ResignedStore, type ResignStoreRequest, resignStore } from './verbs/resign/store.ts';
export type { ResignRow } from './verbs/resign/stored.ts';
export { type ResignedTree, type ResignTreeRequest, resignTree } from './verbs/resign/tree.ts';
export { type SealRequest, type SealResult, seal } from './verbs/seal.ts';
export { type ServeRequest, type Serving, serve } from './verbs/serve.ts';
export {
  type Deviation,
  type MatrixCell,
  type MatrixRow,
  type TamperRequest,
  type TamperResult,
  tamper,
} from './verbs/tamper.ts';
export { type UkiRequest, type UkiResult, uki } from './verbs/uki.ts';
export { type VerifyRequest, type VerifyResult, verify } from './verbs/verify.ts';
export { type VerifyAsRequest, verifyAs } from './verbs/verify-as.ts';
export { type VerifyUefiRequest, verifyUefi } from './verbs/verify-uefi.ts';
