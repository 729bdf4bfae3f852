import { KeyholderClient } from '../../keyholder/client.ts';
import { type Finding, Findings } from './finding.ts';

/**
 * Whether somebody answers at a keyholder's socket, and one that may be asked. Nothing is asked.
 *
 * @param uid that it runs as, where that is neither root's nor ours.
 * @throws Refusal `unsafe-path`, UsageError
 */
export async function checkKeyholder(socket: string, uid: number | undefined): Promise<readonly Finding[]> {
  const findings = new Findings('keyholder');
  const why = await new KeyholderClient({
    socket,
    ...(uid === undefined ? {} : { keyholderUid: uid }),
  }).reach();
  if (why === undefined) findings.ok(`somebody answers at ${socket}`);
  else
    findings.fault(
      'no-keyholder',
      `no keyholder at ${socket}: ${why}`,
      'Start it ("bootseal keyholder"), or name its socket: without it no channel is renewed and no machine armed.',
    );
  return findings.all;
}
