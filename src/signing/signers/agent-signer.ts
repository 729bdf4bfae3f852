import type { KeyObject } from 'node:crypto';
import { connect } from 'node:net';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { decodeAgentSignature } from '../../formats/net/agent-signature.ts';
import { type AssuanLine, AssuanReader, encodeCommand, escapedText } from '../../formats/net/assuan.ts';
import { keygripOf } from '../../formats/openpgp/keygrip.ts';
import { printableText } from '../../formats/records/printable-text.ts';
import { type AgentPlace, findAgent, startAgent } from './agent-place.ts';
import type { DigestSigner } from './digest-signer.ts';
import { demandForm, demandHash, demandKeyKind, encodeNumbers, MAX_SIGNATURE } from './signature-form.ts';
import { DEFAULT_TIME_LIMIT, onAbort, startTimeLimit, type TimeLimit } from './time-limit.ts';

export interface AgentSignerOptions extends AgentPlace {
  /** Which key is meant: `openpgp`. Whoever is asked for a passphrase reads it. */
  readonly key: string;
  /** 40 hex digits; left out: as the public key has it. */
  readonly keygrip?: string;
  readonly timeLimit?: TimeLimit;
}

/** Bytes that an agent may say in one conversation, notes and all. */
const MOST = 64 * 1024;
/** Bytes of its words that go into the message. */
const SAID = 800;
/** GPG_ERR_NO_SECKEY (libgpg-error, `err-codes.h`), in the lower 16 bits. */
const NO_SECRET_KEY = 17;

/**
 * A signer that is GnuPG's agent: it has the keys of gpg and gpgsm, or knows the card that has them, and asks for
 * passphrases and PINs by a window of its own.
 *
 * @throws Refusal `unsafe-keys` for a kind of key that cannot be used so; UsageError for a keygrip of another key.
 */
export function agentSigner(publicKey: KeyObject, options: AgentSignerOptions): DigestSigner {
  const { key, socket, home, timeLimit = DEFAULT_TIME_LIMIT } = options;
  const at = socket ?? home;
  const place = at === undefined ? '' : ` at ${at}`;
  demandKeyKind(`The gpg-agent${place} (key ${key})`, publicKey);
  const keygrip = keygripOf(publicKey) ?? '';
  if (options.keygrip !== undefined && options.keygrip.toUpperCase() !== keygrip) {
    throw new UsageError(
      `The keygrip ${options.keygrip} in signers.toml is not that of the key ${key} in anchors/, which is ${keygrip}; leave it out, or put the public half of that key there.`,
    );
  }
  const name = `The gpg-agent${place} (key ${key}, keygrip ${keygrip})`;
  return {
    publicKey,
    name,
    async sign(hash, digest) {
      const known = demandHash(name, hash);
      const commands = [
        encodeCommand('SIGKEY', keygrip),
        encodeCommand('SETKEYDESC', escapedText(`Bootseal asks for a signature with the key ${key}.`)),
        encodeCommand('SETHASH', `--hash=${known}`, Buffer.from(digest).toString('hex')),
        encodeCommand('PKSIGN'),
      ];
      // One limit for all of it: looking for the agent, starting it, and its answer.
      const late = startTimeLimit(timeLimit);
      const limit: TimeLimit = { ...timeLimit, after: () => late };
      try {
        const octets = await converse(name, options, commands, limit);
        const answer = encodeNumbers(publicKey, decodeAgentSignature(octets));
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

/** The data of the last command's answer. An agent that is not running yet is started, as gpg does it. */
async function converse(
  name: string,
  place: AgentPlace,
  commands: readonly Uint8Array[],
  timeLimit: TimeLimit,
): Promise<Uint8Array> {
  const socket = await findAgent(name, place, timeLimit);
  try {
    return await exchange(name, socket, commands, timeLimit);
  } catch (error) {
    if (!(error instanceof NobodyThere) || place.socket !== undefined) throw error;
  }
  await startAgent(name, place, timeLimit);
  return exchange(name, await findAgent(name, place, timeLimit), commands, timeLimit);
}

/** There is no socket, or nobody listens on it. */
class NobodyThere extends Refusal {}

async function exchange(
  name: string,
  path: string,
  commands: readonly Uint8Array[],
  timeLimit: TimeLimit,
): Promise<Uint8Array> {
  const socket = connect({ path });
  const undo: (() => void)[] = [];
  try {
    return await new Promise<Uint8Array>((resolve, reject) => {
      const reader = new AssuanReader();
      const data: Uint8Array[] = [];
      let size = 0;
      let heard = 0;
      let asked = 0;
      let connected = false;
      const refuse = (fact: string): void =>
        reject(new Refusal('unreachable', `${name} ${fact}.`, { signer: name }));
      const hear = (line: AssuanLine): void => {
        if (line.kind === 'error') refuse(`refuses: ${said(line)}`);
        // Whatever else it wants of us, gpg would have to say; a window that it opened is merely told of.
        else if (line.kind === 'inquiry') {
          socket.write(encodeCommand(line.keyword === 'PINENTRY_LAUNCHED' ? 'END' : 'CAN'));
        } else if (line.kind === 'data') {
          if (asked < commands.length) throw new Malformed('Assuan', 'data that nobody asked for');
          size += line.octets.length;
          if (size > MAX_SIGNATURE) throw new Malformed('Assuan', `more than ${MAX_SIGNATURE} bytes of data`);
          data.push(line.octets);
        } else if (line.kind === 'ok') {
          // The first OK is its greeting.
          const command = commands[asked++];
          if (command === undefined) resolve(Buffer.concat(data));
          else socket.write(command);
        }
      };
      const end = (): void => {
        if (reader.isInside || data.length > 0) reject(new Malformed('Assuan', 'it ends early'));
        else refuse('closed the connection without an answer');
      };
      socket.on('connect', () => {
        connected = true;
      });
      socket.on('data', (piece: Buffer) => {
        heard += piece.length;
        try {
          if (heard > MOST) throw new Malformed('Assuan', `more than ${MOST} bytes`);
          for (const line of reader.read(piece)) hear(line);
        } catch (error) {
          reject(error);
        }
      });
      socket.on('end', end);
      socket.on('close', end);
      socket.on('error', (error: NodeJS.ErrnoException) => {
        const { code = error.message } = error;
        if (connected) refuse(`broke off: ${code}`);
        else if (code === 'ENOENT' || code === 'ECONNREFUSED') {
          const facts = { signer: name };
          reject(new NobodyThere('unreachable', `${name} does not listen at ${path}: ${code}.`, facts));
        } else refuse(`cannot be reached at ${path}: ${code}`);
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
    // It takes a window that it has opened away again.
    socket.destroy();
  }
}

function said({ code, said: octets }: AssuanLine & { readonly kind: 'error' }): string {
  const words = printableText(octets, SAID) || `error ${code}`;
  const hint = (code & 0xffff) === NO_SECRET_KEY ? '; "gpg -K --with-keygrip" shows which keys it has' : '';
  return `${words}${hint}`;
}
