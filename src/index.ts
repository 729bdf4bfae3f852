/** The verbs of the command line, typed, for test harnesses and for programs. */

export type { BootChange } from './boots/boot-change.ts';
export type { BootCounts } from './boots/boot-index.ts';
export type { BootOutcome } from './boots/boot-outcome.ts';
export type { BootQuery } from './boots/boot-query.ts';
export type { Boots } from './boots/boots.ts';
export type { Receipt, StageRecord } from './boots/receipt.ts';
export {
  type EmbeddedScriptOptions,
  embeddedScript,
  type LoaderKit,
  writeLoaderKit,
} from './build/loader-kit.ts';
export { buildGrubLoaders, type GrubLoaderOptions } from './build/loaders.ts';
export { type OverlayOptions, type OverlayResult, overlay } from './build/overlay.ts';
export {
  type Deviation,
  type MatrixCell,
  type MatrixRow,
  type TamperOptions,
  type TamperResult,
  tamper,
} from './conformance/tamper.ts';
export { type VerifyOptions, type VerifyResult, verify } from './conformance/verify.ts';
export { type VerifyAsOptions, verifyAs } from './conformance/verify-as.ts';
export { type VerifyUefiOptions, verifyUefi } from './conformance/verify-uefi.ts';
export { IoError } from './errors/io.ts';
export { Refusal, type RefusalCode } from './errors/refusal.ts';
export { UsageError } from './errors/usage.ts';
export {
  KeyholderClient,
  type KeyholderClientOptions,
  type MovedByKeyholder,
  type SignedByKeyholder,
} from './keyholder/client.ts';
export { type Keyholder, type KeyholderOptions, startKeyholder } from './keyholder/keyholder.ts';
export {
  buildKeyring,
  checkKeyring,
  type KeyringBuild,
  type KeyringBuildOptions,
  type KeyringOptions,
  type KeyringReport,
} from './keyrings/keyring.ts';
export {
  type ArchPullOptions,
  type ArchPullResult,
  type ArchRecord,
  pullArch,
} from './mirrors/arch/arch-pull.ts';
export {
  type AuditDepth,
  type AuditOptions,
  type AuditReport,
  audit,
} from './mirrors/audit/audit.ts';
export type { MirrorRow } from './mirrors/audit/audit-mirror.ts';
export { type Bundle, type ExportOptions, exportBundle } from './mirrors/export.ts';
export { type ImportOptions, type ImportResult, importBundle } from './mirrors/import.ts';
export { takeIn } from './mirrors/intake.ts';
export type { IntakeResult, IntakeRow, IntakeTerms } from './mirrors/intake-terms.ts';
export { type KeepOptions, keepReleases } from './mirrors/keep-releases.ts';
export type { PulledMirror } from './mirrors/mirror-pool.ts';
export { type PromoteOptions, type PromoteResult, promote } from './mirrors/promote.ts';
export { type PullOptions, type PullResult, pull } from './mirrors/pull.ts';
export { type BootImageOptions, type BootOptions, boot, bootImage } from './operations/boot.ts';
export {
  DHCP_DIALECTS,
  type DhcpConfig,
  type DhcpConfigOptions,
  type DhcpDialect,
  dhcpConfig,
} from './operations/dhcp-config.ts';
export { type DirectBoot, type DirectBootOptions, directBoot } from './operations/direct-boot.ts';
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
  type InspectOptions,
  inspect,
} from './operations/inspect.ts';
export { type RotateKeysOptions, rotateKeys } from './operations/keys-rotate.ts';
export { type KeysStatus, type KeysStatusOptions, keysStatus } from './operations/keys-status.ts';
export {
  type AttachedScripts,
  type AttachScriptsOptions,
  attachScripts,
  type RequestedScripts,
  type RequestScriptsOptions,
  requestScripts,
  type SignedScripts,
  type SignScriptsOptions,
  signScriptsRequest,
} from './operations/machine-scripts.ts';
export {
  type AttachOptions,
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
export { type SealReleaseOptions, type SealResult, seal } from './operations/seal.ts';
export {
  type Fault,
  type Finding,
  type ScrubResult,
  type Sentinel,
  type SentinelOptions,
  scrubStore,
  startSentinel,
} from './operations/sentinel.ts';
export { type UkiOptions, type UkiResult, uki } from './operations/uki.ts';
export { type WakeOptions, type WakeSent, wake } from './operations/wake.ts';
export {
  type ArmedMachine,
  type ArmOptions,
  armMachine,
  type DisarmOptions,
  disarmMachine,
  listArmed,
} from './publish/arm.ts';
export {
  type ApplyMachinesOptions,
  applyMachines,
  chooseEntry,
  type EntryOptions,
  type ListedChannel,
  listChannels,
  moveChannelTo,
  type RollbackOptions,
  renewChannel,
  rollbackChannel,
  type ShownChannel,
  showChannel,
} from './publish/channel.ts';
export type { ChannelOptions, MovedChannel } from './publish/channel-move.ts';
export { type SignedLog, type SignLogOptions, signLog } from './publish/log-sign.ts';
export { type SetPolicyOptions, setPolicy, showPolicy } from './publish/policy.ts';
export { type PublishOptions, type PublishResult, publish } from './publish/publish.ts';
export type { GateRow } from './publish/publish-gate.ts';
export { type WithdrawOptions, withdrawRelease } from './publish/withdraw.ts';
export { type RestoreRequest, restoreRelease } from './resigning/restore.ts';
export { type ResignedStore, type ResignStoreRequest, resignStore } from './resigning/store.ts';
export type { ResignRow } from './resigning/stored.ts';
export { type ResignedTree, type ResignTreeRequest, resignTree } from './resigning/tree.ts';
export type { HandedSockets, SocketName } from './serve/handed.ts';
export { type Configuration, readConfiguration } from './server/configuration.ts';
export type { DhcpOffer, ProxyDhcpRequest } from './server/proxy-dhcp.ts';
export { type ServeOptions, type Serving, serve } from './server/serve.ts';
export type { ArmingFacts, Signer } from './server/signer.ts';
export { type ExplainedMachine, explainMachine, listMachines } from './server/written-machines.ts';
export { createKeyFolder as init, type InitOptions } from './signing/keys/init.ts';
export { readScriptKeys, type ScriptKeys } from './signing/keys/script-keys.ts';
export { type CollectOptions, collectObjects } from './store/collect.ts';
export type { Collected, UnusedObject } from './store/collect-marks.ts';
export { type CollectedScripts, collectScripts } from './store/collect-scripts.ts';
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
export type { WithdrawnRelease } from './store/withdraw.ts';
export type { StatusItem } from './trust/endings.ts';
