import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import {
  MAX_BLKSIZE,
  MIN_BLKSIZE,
  TFTP_ERROR,
  type TftpOptions,
  type TftpRequest,
  tftpNumber,
} from '../../formats/net/tftp.ts';
import { wirePath } from '../wire-name.ts';

/** A no, with the ERROR that tells the client. */
export interface TftpNo {
  /** Code of the ERROR. */
  readonly error: number;
  /** Text of the ERROR: plain ASCII, nothing of the server's file system. */
  readonly text: string;
  /** A verdict, or what this machine could not do; undefined where the protocol itself says no. */
  readonly why: unknown;
}

/** What was agreed on. */
export interface Terms {
  /** Bytes in each block but the last. */
  readonly blksize: number;
  /** Blocks in flight. */
  readonly windowsize: number;
  /** Milliseconds, where the client named it. */
  readonly timeoutMs: number | undefined;
  /** What OACK says; empty where the transfer begins with block 1 at once. */
  readonly accepted: TftpOptions;
}

/** The bounds within which `agree` agrees. */
export interface TermLimits {
  readonly maxBlksize: number;
  readonly maxWindowsize: number;
  readonly maxWindowBytes: number;
}

/** RFC 1350 §2, where no option says otherwise. */
const PLAIN_BLKSIZE = 512;

/** The path that a request asks the site for, or why it is answered before the site is asked. */
export function requestedPath({ kind, filename, mode }: TftpRequest): string | TftpNo {
  if (kind === 'wrq') {
    return no(TFTP_ERROR.accessViolation, 'This server is read-only');
  }
  // RFC 1350's netascii rewrites line ends. What would arrive is not what was sealed, tsize (RFC 2349)
  // could not be told without reading the whole file, and no boot client uses it.
  if (mode !== 'octet') return no(TFTP_ERROR.undefined, 'Only mode octet is served');
  const path = wirePath(filename);
  if (typeof path === 'string' && path !== '/') return path;
  const text = 'That is not a plain path';
  return {
    error: TFTP_ERROR.accessViolation,
    text,
    why: path === '/' ? new Refusal('unsafe-path', `${text}.`) : path,
  };
}

/**
 * Agrees on options (RFC 2347): what is unknown is passed over in silence, as the RFC says, since every ROM
 * sends some of its own; a value that an RFC forbids is ERROR 8.
 *
 * @param size bytes of the file, for tsize (RFC 2349).
 */
export function agree(options: TftpOptions, size: number, limits: TermLimits): Terms | TftpNo {
  const accepted = new Map<string, string>();
  let blksize = PLAIN_BLKSIZE;
  let windowsize = 1;
  let timeoutMs: number | undefined;
  try {
    for (const [name, value] of options) {
      switch (name) {
        case 'blksize':
          blksize = Math.min(tftpNumber(value, MIN_BLKSIZE, MAX_BLKSIZE), limits.maxBlksize);
          break;
        case 'windowsize':
          windowsize = tftpNumber(value, 1, 65535);
          break;
        case 'timeout': {
          const seconds = tftpNumber(value, 0, Number.MAX_SAFE_INTEGER);
          // RFC 2349 knows 1 to 255. node-tftp sends milliseconds: left out of OACK, the value binds nobody.
          if (seconds < 1 || seconds > 255) continue;
          timeoutMs = seconds * 1000;
          break;
        }
        case 'tsize':
          // 0 by RFC 2349; whatever number a client sends there, the answer is the same.
          tftpNumber(value, 0, Number.MAX_SAFE_INTEGER);
          break;
        default:
          continue;
      }
      accepted.set(name, name === 'tsize' ? String(size) : value);
    }
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return no(TFTP_ERROR.optionNegotiation, 'An option has a value that no RFC allows');
  }
  const room = Math.max(1, Math.floor(limits.maxWindowBytes / blksize));
  windowsize = Math.min(windowsize, limits.maxWindowsize, room);
  if (accepted.has('blksize')) accepted.set('blksize', String(blksize));
  if (accepted.has('windowsize')) accepted.set('windowsize', String(windowsize));
  return { blksize, windowsize, timeoutMs, accepted };
}

/**
 * What a client is told of a refusal by the site. Only `absent` is "File not found", which GRUB and PXELINUX
 * take as leave to try the next name; a file that drifted must not look like one that never was. The
 * refusal's own sentence may name files of the server and stays in the log.
 */
export function siteRefusal(why: Refusal): TftpNo {
  return why.code === 'absent'
    ? { error: TFTP_ERROR.fileNotFound, text: 'File not found', why }
    : {
        error: why.code === 'unsafe-path' ? TFTP_ERROR.accessViolation : TFTP_ERROR.undefined,
        text: `${why.code}: the file is not served, see the log of the server`,
        why,
      };
}

/** A no for whatever was thrown; what is no refusal is ours to repair, and none of the client's business. */
export function thrown(error: unknown): TftpNo {
  if (error instanceof Refusal) return siteRefusal(error);
  return { error: TFTP_ERROR.undefined, text: 'The server cannot read it now; its log says why', why: error };
}

/** A no of the protocol's own. */
export function no(error: number, text: string): TftpNo {
  return { error, text, why: undefined };
}
