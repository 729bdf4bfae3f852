import { grubServerOf } from './grub-config.ts';
import { DEFAULT_PORT, type ServerAddress } from './server-address.ts';

/** Where the sealed scripts of a release fetch from, so that others for it say the same. */
export function sealedAddress(
  bootIpxe: Uint8Array | undefined,
  grubCfg: Uint8Array | undefined,
): ServerAddress {
  const script = bootIpxe === undefined ? '' : Buffer.from(bootIpxe).toString('latin1');
  const [, base] = /^kernel --name \S+ (http:\/\/\S+?)\/releases\//m.exec(script) ?? [];
  const [, port] = /^isset \S+ \|\| set bootseal-port:int32 ([0-9]{1,5})$/m.exec(script) ?? [];
  const literal = base !== undefined && !base.includes('$');
  return {
    script: literal
      ? { kind: 'literal', url: base }
      : { kind: 'typed', ...(port === undefined ? {} : { port: Number(port) }) },
    grub:
      grubCfg === undefined
        ? { kind: 'dhcp', httpPort: DEFAULT_PORT }
        : grubServerOf(Buffer.from(grubCfg).toString('latin1')),
  };
}
