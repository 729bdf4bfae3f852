import { closeSync, constants, openSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { run } from './command.ts';

/** A pipe of the kernel: what is written to it waits there, 64 KiB of it. */
export interface Pipe {
  /** A descriptor, to be closed (`closeSync`) once the child that writes has it. */
  readonly writer: number;
  /** Ends when the last writer has closed it. */
  readonly reader: Socket;
}

let made = 0;

/**
 * For a child that writes byte by byte and does not wait, as QEMU does with a serial port. What Node gives a child is a
 * socket pair, and the kernel counts each byte in one as a message: it is full after less than 300, and a reader that is
 * busy for a moment loses letters of the console.
 */
export async function makePipe(folder: string): Promise<Pipe> {
  const path = join(folder, `pipe-${process.pid}-${++made}`);
  await run('mkfifo', [path]);
  try {
    // In this order, and without waiting: a FIFO that nobody reads cannot be opened for writing.
    const end = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const writer = openSync(path, constants.O_WRONLY);
      // The socket owns the descriptor from now on.
      return { writer, reader: new Socket({ fd: end, readable: true, writable: false }) };
    } catch (error) {
      closeSync(end);
      throw error;
    }
  } finally {
    await rm(path);
  }
}
