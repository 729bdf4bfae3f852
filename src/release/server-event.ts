import type { Refusal, RefusalCode } from '../errors/refusal.ts';
import type { RootMode } from '../formats/records/policy-floor.ts';
import type { TrustLevel } from './trust-level.ts';

/** The servers that machines talk to. */
export type Protocol = 'http' | 'tftp' | 'nbd';

/** How what a server began with one client ended. Each protocol has some of them. */
export type Outcome =
  /** The client has all of it, or said that it has enough. */
  | 'complete'
  /** It was answered with a reason instead, or cut off where it had begun already. */
  | 'refused'
  /** This machine could not read it. */
  | 'failed'
  /** TFTP: the client only wanted to know the size, as boot ROMs do. No fault. */
  | 'probe'
  /** The client left, or said that it gives up. */
  | 'client-gone'
  /** The client stopped reading, or answering. */
  | 'stalled'
  /** TFTP: the client never showed that it is there. */
  | 'timeout'
  /** The client sent what has no place there. */
  | 'protocol'
  /** There was no room for all, and its address held most. */
  | 'gave-way'
  /** TFTP over one port: the client asked anew. */
  | 'replaced'
  /** The server closed. */
  | 'closed';

/** The outcomes that each protocol knows. */
export const OUTCOMES: Readonly<Record<Protocol, readonly Outcome[]>> = {
  http: ['complete', 'refused', 'failed', 'client-gone', 'stalled', 'gave-way', 'closed'],
  tftp: [
    'complete',
    'refused',
    'failed',
    'probe',
    'client-gone',
    'stalled',
    'timeout',
    'protocol',
    'gave-way',
    'replaced',
    'closed',
  ],
  nbd: ['complete', 'refused', 'failed', 'client-gone', 'stalled', 'protocol', 'gave-way', 'closed'],
};

/** Why a connection or a datagram got nothing. */
export const TURNED_AWAY = [
  /** There are too many, and its address holds as many as any. */
  'too-many',
  /** More requests at once than are answered at once. */
  'too-many-requests',
  /** What came is no request. */
  'not-a-request',
  'too-slow',
  'too-large',
  /** A datagram of one who has no part in the transfer that it was sent to, or that belongs to none. */
  'stranger',
] as const;

export type TurnedAway = (typeof TURNED_AWAY)[number];

/** Kinds of clients that DHCP tells apart, each with a loader of its own. */
export const DHCP_CLIENTS = [
  /** iPXE of user class `bootseal`: it has a script of ours inside. */
  'bootseal',
  'bootseal-arm64',
  /** iPXE that asks for the first time on a BIOS: a card's ROM. */
  'ipxe-bios',
  'ipxe-x64',
  'ipxe-arm64',
  /** Any other iPXE: one that a ROM has loaded on a BIOS, or that asks again. */
  'ipxe',
  /** Firmware by PXE. */
  'bios',
  'ia32',
  'x64',
  'arm32',
  'arm64',
  /** Firmware by UEFI HTTP Boot. */
  'http-ia32',
  'http-x64',
  'http-arm32',
  'http-arm64',
  'raspberry-pi',
] as const;

export type DhcpClientKind = (typeof DHCP_CLIENTS)[number];

/** Why something that came over DHCP is not answered. */
export const DHCP_SILENCES = [
  /** What came is no DHCP message, or lies about a length. */
  'malformed',
  /** From a server, or of a type that is none of ours: most of what any DHCP server hears. */
  'not-a-request',
  /** No Ethernet, or an address that no card has. */
  'not-ethernet',
  /** It does not say that it boots from the network (options 60 and 93). */
  'not-pxe',
  /** It says an architecture that nobody here knows. */
  'unknown-kind',
  /** From outside of our networks, or under another address than it says. */
  'from-elsewhere',
  /** Through a relay that is not configured, or too many of them. */
  'unknown-relay',
  /** For another server. */
  'for-another',
  /** There is no file for clients of this kind. */
  'no-loader',
  /** Its file travels over TFTP, which is not at port 69 here. */
  'no-tftp',
  /** It boots from its own disk. */
  'local',
  'blocked',
  /** Nobody knows it, and strangers are not answered. */
  'not-enrolled',
  /** This machine asks more often than anything that boots. */
  'too-often',
  /** All together ask more often than is answered. */
  'too-many',
  /** The answer would be larger than the question. */
  'too-large',
] as const;

export type DhcpSilence = (typeof DHCP_SILENCES)[number];

/** Whose DHCP message something is about. */
export interface DhcpAsking {
  readonly server: 'dhcp';
  /** Source of the datagram; `0.0.0.0` of a client that has no address yet. */
  readonly remote: string;
  /** `52:54:00:12:34:56`; empty where the message has none. Claimed, like all that follows. */
  readonly mac: string;
  /** A machine that the operator knows. */
  readonly known: boolean;
  /** The same transaction was told before. */
  readonly again: boolean;
}

/** Who asked for what. */
export interface Asking {
  readonly server: Protocol;
  /** Counts from 1 what this server was asked; over NBD, connections. */
  readonly id: number;
  /** The client's address: where a proxy that the operator trusts tells of another one, that. */
  readonly remote: string;
  readonly port: number;
  /** A path, an export: escaped and bounded, since a client chose it. Empty where nothing was asked for. */
  readonly asked: string;
  /** HTTP only. */
  readonly method?: string;
  /** `52:54:00:12:34:56`: what its query says, over HTTP. A claim: it joins what belongs together, and unlocks nothing. */
  readonly mac?: string;
}

/** What a machine's first script has it start. */
export type ScriptStarts = 'release' | 'local' | 'menu' | 'hold';

/**
 * What happens at the edges of a server, on all protocols. Read by log, metrics, and whoever follows boots.
 *
 * To each `started` there is one `ended`, and the other way round. Why something was not given is told once, with what was asked for:
 * `refused`, `answered` or `failed`, before the `ended` where there is one.
 */
export type ServerEvent =
  | ({ readonly kind: 'started' } & Asking)
  | ({
      /** HTTP: about every 16 MiB of a large file. */
      readonly kind: 'progress';
      readonly bytes: number;
      readonly total: number;
    } & Asking)
  | ({
      readonly kind: 'ended';
      readonly outcome: Outcome;
      /** Bytes of content that left (HTTP, NBD) or were acknowledged (TFTP). */
      readonly bytes: number;
      /** Milliseconds, by a monotonic clock. */
      readonly durationMs: number;
      /** HTTP; 0 where the client was gone before there was one. */
      readonly status?: number;
      /** TFTP: datagrams that were sent again. */
      readonly retransmissions?: number;
      /** NBD: requests that were answered, errors included. */
      readonly requests?: number;
      /** What the client said when it broke off (TFTP), escaped. */
      readonly said?: string;
    } & Asking)
  | ({
      /** A verdict: it is not served, and why. */
      readonly kind: 'refused';
      readonly refusal: Refusal;
      /** HTTP's status, TFTP's or NBD's error. */
      readonly status: number;
    } & Asking)
  | ({
      /** No verdict: what the protocol itself answers to a request that it cannot take. */
      readonly kind: 'answered';
      readonly status: number;
      readonly message: string;
    } & Asking)
  | ({
      /** This machine could not do it: a disk, a limit, a fault of the program. */
      readonly kind: 'failed';
      readonly error: unknown;
      readonly status: number;
    } & Asking)
  | ({
      /** HTTP: it was sent to a mirror for a file of so many bytes. */
      readonly kind: 'redirected';
      readonly mirror: string;
      readonly bytes: number;
    } & Asking)
  | {
      /** A boot begins: its first script or image was asked for, and there is one. The request has events of its own. */
      readonly kind: 'boot-began';
      readonly server: Protocol;
      readonly remote: string;
      readonly asked: string;
      readonly mac?: string;
      readonly trust: TrustLevel;
    }
  | {
      /** A loader was given the script that decides what its machine starts. The request has events of its own. */
      readonly kind: 'decided';
      readonly server: Protocol;
      readonly remote: string;
      readonly loader: 'ipxe' | 'grub';
      readonly mac?: string;
      readonly uuid?: string;
      readonly arch?: string;
      readonly starts: ScriptStarts;
      /** The armed boot that it begins. */
      readonly once?: string;
    }
  | {
      /** What early userspace says of its boot. Claimed, like all that machines say. */
      readonly kind: 'reported';
      readonly server: 'http';
      readonly remote: string;
      readonly mac: string;
      readonly outcome: 'verified' | 'refused';
      readonly release?: string;
      readonly root?: RootMode;
      /** Of a refusal. */
      readonly code?: RefusalCode;
      /** Of a refusal: its sentence. Printable ASCII, bounded, as are the lines. */
      readonly message?: string;
      /** What its console showed last, the oldest first. */
      readonly lines: readonly string[];
      /** The armed boot that it is. */
      readonly once?: string;
    }
  | {
      /** A loader's script says at which step it gave up. */
      readonly kind: 'gave-up';
      readonly server: 'http';
      readonly remote: string;
      readonly mac?: string;
      /** The words of its screen: printable ASCII, bounded. */
      readonly step: string;
      /** iPXE's error number, in hexadecimal. */
      readonly errno?: string;
      /** What that number means, where it is one of those that are known. */
      readonly code?: RefusalCode;
    }
  | {
      /** A line that a loader sent by syslog: a hint, since anybody can send one. Escaped and bounded. */
      readonly kind: 'console';
      readonly server: 'syslog';
      readonly remote: string;
      readonly mac?: string;
      readonly text: string;
    }
  | {
      /** A connection or a datagram that never became a request that is answered. */
      readonly kind: 'turned-away';
      readonly server: Protocol;
      readonly remote: string;
      readonly reason: TurnedAway;
      /** What came, escaped and bounded; empty where nothing did. */
      readonly asked: string;
    }
  | {
      /** Something that nobody asked for went wrong: accepting a connection, closing a file. */
      readonly kind: 'fault';
      readonly server: Protocol | 'dhcp' | 'syslog';
      readonly error: unknown;
      /** What could not be done. */
      readonly what: string;
    }
  | ({
      /** A machine was told what to boot. */
      readonly kind: 'offered';
      readonly message: 'offer' | 'ack';
      readonly client: DhcpClientKind;
      readonly uuid?: string;
      readonly interface: string;
      /** A URL, or a name to fetch over TFTP from `from`. */
      readonly file: string;
      readonly from: string;
    } & DhcpAsking)
  | ({
      /** DHCP is answered with nothing, and why. */
      readonly kind: 'silent';
      readonly reason: DhcpSilence;
      readonly client?: DhcpClientKind;
      /** What it says that it is (option 60), or what is wrong: escaped and bounded. */
      readonly said: string;
    } & DhcpAsking)
  | {
      /** An interface on which DHCP is answered has another address, or none; then nobody is answered there. */
      readonly kind: 'interface';
      readonly server: 'dhcp';
      readonly interface: string;
      readonly address?: string;
      /** Why nobody is answered there. */
      readonly why?: string;
    };
