/** The verbs of the command line, typed, for test harnesses and for programs. */
export { Refusal, type RefusalCode } from './release/refusal.ts';
export { type BootRequest, boot } from './verbs/boot.ts';
export { type Configuration, readConfiguration } from './verbs/configuration.ts';
export { type InitOptions, init } from './verbs/init.ts';
export { buildGrubLoaders, embeddedScript, type GrubRequest } from './verbs/loaders.ts';
export { type SealRequest, type SealResult, seal } from './verbs/seal.ts';
export { type ServeRequest, type Serving, serve } from './verbs/serve.ts';
export { type VerifyRequest, type VerifyResult, verify } from './verbs/verify.ts';
