export { createKeyFolder as init, demandSite, type InitOptions } from '../signing/init.ts';
