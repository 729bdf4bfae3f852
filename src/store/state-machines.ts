import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { recordsOf } from './folder-backend.ts';
import { isBucketState } from './s3/location.ts';

/** Where a state keeps what an operator wrote about its machines. */
const MACHINES = 'machines';

/** Files about machines that are records of a bucket; machines/machine-files.ts reads them. */
export interface MachineRecords {
  /** How sentences name where they are. */
  readonly name: string;
  names(): Promise<readonly string[]>;
  /** @param limit bytes. @throws Refusal `too-large`, IoError */
  read(name: string, limit: number): Promise<Uint8Array | undefined>;
  /** Writes one, or takes it away. @throws IoError */
  write(name: string, text: string | undefined): Promise<void>;
}

/** What an operator wrote about the machines of a state: the folder that it is in, or its records. */
export function machineFilesOf(state: string): string | MachineRecords {
  if (!isBucketState(state)) return join(state, MACHINES);
  const records = recordsOf(state);
  const key = (name: string) => `${MACHINES}/${name}`;
  return {
    name: `${state}/${MACHINES}`,
    names: () => records.list(MACHINES),
    read: async (name, limit) => {
      const { bytes } = (await records.get(key(name))) ?? {};
      if (bytes && bytes.length > limit)
        throw new Refusal('too-large', `${name} has ${bytes.length} bytes, and ${limit} are allowed.`, {
          limit,
        });
      return bytes;
    },
    write: async (name, text) => {
      if (text !== undefined) return records.put(key(name), Buffer.from(text));
      await records.remove(key(name));
    },
  };
}
