export { createKeyFolder as init, type InitOptions } from '../signing/init.ts';
