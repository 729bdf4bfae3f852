/** The verbs of the command line, typed, for test harnesses and for programs. */

export { buildGrubLoaders, embeddedScript, type GrubRequest } from './build/loaders.ts';
export { type OverlayRequest, type OverlayResult, overlay } from './build/overlay.ts';
export {
  type Deviation,
  type MatrixCell,
  type MatrixRow,
  type TamperRequest,
  type TamperResult,
  tamper,
} from './conformance/tamper.ts';
export { type VerifyRequest, type VerifyResult, verify } from './conformance/verify.ts';
export { type VerifyAsRequest, verifyAs } from './conformance/verify-as.ts';
export { type VerifyUefiRequest, verifyUefi } from './conformance/verify-uefi.ts';
export { Refusal, type RefusalCode } from './errors/refusal.ts';
export {
  buildKeyring,
  checkKeyring,
  type KeyringBuild,
  type KeyringBuildRequest,
  type KeyringReport,
  type KeyringRequest,
} from './keyrings/keyring.ts';
export { type BootImageRequest, type BootRequest, boot, bootImage } from './operations/boot.ts';
export {
  type AttachImageOptions,
  attachImage,
  type ImageAttached,
  type ImageRequested,
  type ImageRequestOptions,
  requestImageSignature,
  type SignImageRequestOptions,
  signImageRequest,
} from './operations/image-request.ts';
export {
  type Fact,
  type Facts,
  type Inspection,
  type InspectRequest,
  inspect,
} from './operations/inspect.ts';
export { type RotateKeysRequest, rotateKeys } from './operations/keys-rotate.ts';
export {
  type KeysStatus,
  type KeysStatusRequest,
  keysStatus,
  type StatusItem,
} from './operations/keys-status.ts';
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
} from './operations/request.ts';
export { type RestoredState, type RestoreStateOptions, restoreState } from './operations/restore-state.ts';
export { type SealRequest, type SealResult, seal } from './operations/seal.ts';
export { type UkiRequest, type UkiResult, uki } from './operations/uki.ts';
export { type WithdrawnRelease, type WithdrawOptions, withdrawRelease } from './operations/withdraw.ts';
export { type ListedChannel, listChannels, type ShownChannel, showChannel } from './publish/channel.ts';
export {
  type ChannelRequest,
  type MovedChannel,
  type PublishRequest,
  type PublishResult,
  publish,
  type RollbackRequest,
  renewChannel,
  rollbackChannel,
} from './publish/publish.ts';
export type { GateRow } from './publish/publish-gate.ts';
export { type RestoreRequest, restoreRelease } from './resigning/restore.ts';
export { type ResignedStore, type ResignStoreRequest, resignStore } from './resigning/store.ts';
export type { ResignRow } from './resigning/stored.ts';
export { type ResignedTree, type ResignTreeRequest, resignTree } from './resigning/tree.ts';
export { type Configuration, readConfiguration } from './server/configuration.ts';
export { type ServeRequest, type Serving, serve } from './server/serve.ts';
export { createKeyFolder as init, type InitOptions } from './signing/keys/init.ts';
export { type Collected, type CollectOptions, collectObjects } from './store/collect.ts';
export {
  type CheckLogProofRequest,
  type CheckLogRequest,
  checkLog,
  checkLogProof,
  type ProveLogRequest,
  proveLog,
  type ShowLogRequest,
  showLog,
} from './store/log-reader.ts';
