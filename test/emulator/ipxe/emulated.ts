import { createHash } from 'node:crypto';
import type { IpxeEvent, IpxeOptions, IpxeRun } from '../../../src/emulator/ipxe/contract.ts';
import { runIpxe } from '../../../src/emulator/ipxe/run.ts';
import type { Fetched, Transport } from '../../../src/emulator/transport.ts';
import { Refusal } from '../../../src/errors/refusal.ts';

/** Files of an emulated server, by URL. */
export type Files = Readonly<Record<string, string | Uint8Array>>;

export const SERVER = 'http://10.0.0.1:8080';

export function octets(content: string | Uint8Array): Uint8Array {
  return typeof content === 'string' ? new Uint8Array(Buffer.from(content, 'latin1')) : content;
}

/** Answers from memory, in pieces of seven bytes, and says how large each file is. */
export function memoryTransport(files: Files): Transport & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    fetch: (url: string): Promise<Fetched> => {
      asked.push(url);
      const content = files[url];
      if (content === undefined)
        return Promise.reject(new Refusal('absent', `${url}: no such file`, { url }));
      const bytes = octets(content);
      return Promise.resolve({ url, size: bytes.length, partial: false, body: pieces(bytes) });
    },
  };
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 7) yield bytes.subarray(at, at + 7);
}

/** A stand-in for CMS: the signer's name and the digest. What counts here is who asks, and what follows. */
export function seal(content: string | Uint8Array, signer: string): string {
  return `SEAL ${signer} ${createHash('sha256').update(octets(content)).digest('hex')}`;
}

export function checkSeal(
  image: Uint8Array,
  signature: Uint8Array,
  signer: string | undefined,
): Promise<void> {
  const [magic, name, digest] = Buffer.from(signature).toString('latin1').split(' ');
  if (magic !== 'SEAL') return Promise.reject(new Refusal('malformed', 'no CMS'));
  if (signer !== undefined && name !== signer) {
    return Promise.reject(new Refusal('mixed-releases', `signed by ${name}, not ${signer}`));
  }
  if (createHash('sha256').update(image).digest('hex') !== digest) {
    return Promise.reject(new Refusal('bad-signature', 'the signature does not fit'));
  }
  return Promise.resolve();
}

/** The smallest thing that iPXE takes for a Linux kernel. */
export function bzImage(mark: string, cmdlineSize = 2047): Uint8Array {
  const image = Buffer.alloc(1024);
  image.writeUInt8(1, 0x1f1);
  image.writeUInt16LE(0xaa55, 0x1fe);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x020f, 0x206);
  image.writeUInt32LE(cmdlineSize, 0x238);
  image.write(mark, 0x300, 'latin1');
  return new Uint8Array(image);
}

/** The smallest thing that a UEFI takes for a program. */
export function efiImage(mark: string): Uint8Array {
  const image = Buffer.alloc(128);
  image.write('MZ', 0, 'latin1');
  image.writeUInt32LE(64, 0x3c);
  image.write('PE\0\0', 64, 'latin1');
  image.write(mark, 80, 'latin1');
  return new Uint8Array(image);
}

export const KERNEL = bzImage('kernel');

export interface Scenario extends Partial<Omit<IpxeOptions, 'machine' | 'script'>> {
  readonly files?: Files;
  readonly machine?: Partial<IpxeOptions['machine']>;
  readonly script?: NonNullable<IpxeOptions['script']>;
  /** No script: iPXE boots what DHCP names. */
  readonly autoboot?: boolean;
  /** No DHCP server answers. */
  readonly noDhcp?: boolean;
}

export interface Played extends IpxeRun {
  readonly events: readonly IpxeEvent[];
  readonly asked: readonly string[];
}

const DHCP = {
  ip: '10.0.0.9',
  netmask: '255.255.255.0',
  gateway: '10.0.0.254',
  'next-server': '10.0.0.1',
};

/** Runs `lines` as the embedded script of a BIOS iPXE that has the trust commands, behind a DHCP server. */
export async function play(lines: string, scenario: Scenario = {}): Promise<Played> {
  const { files = {}, machine, script, autoboot, noDhcp, ...rest } = scenario;
  const transport = memoryTransport(files);
  const events: IpxeEvent[] = [];
  const run = await runIpxe({
    transport,
    features: { imgtrust: true, commands: ['time', 'ntp', 'params', 'param', 'console'] },
    verify: checkSeal,
    now: new Date('2026-11-20T12:00:00Z'),
    onEvent: (event) => events.push(event),
    ...rest,
    ...(autoboot === true ? {} : { script: script ?? { embedded: true, bytes: octets(`#!ipxe\n${lines}`) } }),
    machine: {
      mac: '52:54:00:12:34:56',
      uuid: '4c4c4544-0051-3010-8052-b4c04f4a4e31',
      serial: 'S-1',
      manufacturer: 'Maker',
      buildarch: 'x86_64',
      platform: 'pcbios',
      ...(noDhcp === true ? {} : { dhcp: DHCP, dhcpCached: true }),
      ...machine,
    },
  });
  return { ...run, events, asked: transport.asked };
}
