export { createKeyFolder as init, demandSite, type InitOptions } from '../signing/keys/init.ts';
