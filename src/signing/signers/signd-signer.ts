import type { KeyObject } from 'node:crypto';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import {
  decodeAnswer,
  decodeReply,
  decodeSigndSignature,
  encodeSignRequest,
  replyLength,
  type SigndFraming,
} from '../../formats/net/signd.ts';
import { printableText } from '../../formats/records/printable-text.ts';
import type { DigestSigner } from './digest-signer.ts';
import { demandForm, demandHash, demandKeyKind, encodeNumbers } from './signature-form.ts';
import { DEFAULT_TIME_LIMIT, onAbort, startTimeLimit, type TimeLimit } from './time-limit.ts';

export interface SigndSignerOptions {
  readonly host: string;
  readonly port: number;
  /** The key's name on the server. */
  readonly user: string;
  readonly framing: SigndFraming;
  /** Left out: plain TCP, for which the network between must be trusted to keep others from signing. */
  readonly tls?: SigndTls;
  /** For the whole exchange: a limit to silence alone lets a server drip for hours. */
  readonly timeLimit?: TimeLimit;
}

export interface SigndTls {
  /** PEM: who may vouch for the server. Nobody else is believed, the system's CAs neither. */
  readonly ca: string;
  /** PEM: a client certificate and its key, which signd asks for unless it is told not to. */
  readonly certificate?: string;
  readonly key?: string;
}

/** Bytes of a server's words that go into the message. */
const SAID = 800;

/**
 * A signer on OBS signd. Of the OpenPGP packet with which it answers only the numbers are kept.
 *
 * @throws Refusal `unsafe-keys` for a kind of key that cannot be used so.
 */
export function signdSigner(publicKey: KeyObject, options: SigndSignerOptions): DigestSigner {
  const { host, port, user, framing } = options;
  const name = `signd at ${isIP(host) === 6 ? `[${host}]` : host}:${port} (key ${user})`;
  demandKeyKind(name, publicKey);
  return {
    publicKey,
    name,
    async sign(hash, digest) {
      const known = demandHash(name, hash);
      const octets = await exchange(name, options, encodeSignRequest(framing, user, known, digest));
      try {
        const { status, out, err } = decodeReply(octets);
        if (status !== 0) {
          const said = printableText(err, SAID);
          throw new Refusal('unreachable', `${name} refuses with status ${status}${said && `: ${said}`}.`, {
            signer: name,
            status,
          });
        }
        const answer = encodeNumbers(
          publicKey,
          decodeSigndSignature(decodeAnswer(framing, out), known, digest),
        );
        demandForm(name, publicKey, answer);
        return answer;
      } catch (error) {
        if (!(error instanceof Malformed)) throw error;
        throw new Refusal('malformed', `${name} gave an answer that cannot be read: ${error.message}.`, {
          signer: name,
        });
      }
    },
  };
}

/** Sends a request and reads until the server closes, which signd does after each reply. */
async function exchange(name: string, options: SigndSignerOptions, request: Uint8Array): Promise<Uint8Array> {
  const { timeLimit = DEFAULT_TIME_LIMIT } = options;
  const socket = open(options);
  const undo: (() => void)[] = [];
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      let reply: Buffer = Buffer.alloc(0);
      let connected = false;
      const refuse = (fact: string): void =>
        reject(new Refusal('unreachable', `${name} ${fact}.`, { signer: name }));
      const end = (): void => (reply.length === 0 ? refuse('closed without an answer') : resolve(reply));
      socket.on(options.tls ? 'secureConnect' : 'connect', () => {
        connected = true;
        // In one piece: signd takes the first piece that arrives for the whole header.
        socket.write(request);
      });
      socket.on('data', (chunk: Buffer) => {
        reply = Buffer.concat([reply, chunk]);
        const length = replyLength(reply);
        if (length !== undefined && reply.length > length) resolve(reply);
      });
      socket.on('end', end);
      socket.on('close', end);
      socket.on('error', (error: NodeJS.ErrnoException) => {
        // A connection torn down after the whole reply has taken nothing away from it.
        if (reply.length > 0 && replyLength(reply) === reply.length) resolve(reply);
        else if (connected) refuse(`broke off: ${reason(error)}`);
        else refuse(`cannot be reached: ${reason(error)}`);
      });
      undo.push(
        onAbort(startTimeLimit(timeLimit), () =>
          refuse(`gave no whole answer within ${timeLimit.seconds} s`),
        ),
        onAbort(timeLimit.ended, () => reject(timeLimit.ended?.reason)),
      );
    });
  } finally {
    for (const back of undo) back();
    socket.destroy();
  }
}

function open({ host, port, tls }: SigndSignerOptions): Socket {
  if (!tls) return connect({ host, port });
  return connectTls({
    host,
    port,
    ca: tls.ca,
    ...(tls.certificate === undefined ? {} : { cert: tls.certificate }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    ...(isIP(host) === 0 ? { servername: host } : {}),
    minVersion: 'TLSv1.2',
    // Said here, so that NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment does not lower it.
    rejectUnauthorized: true,
  });
}

/** OpenSSL's errors have a reason in words; those of node:tls a message, those of the system a code. */
function reason(error: NodeJS.ErrnoException & { readonly reason?: string }): string {
  if (error.code !== undefined && /^E[A-Z]+$/.test(error.code)) return error.code;
  return printableText(Buffer.from(error.reason ?? error.message), SAID);
}
