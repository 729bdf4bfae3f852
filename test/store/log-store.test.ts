import { temporaryFolder } from '../fixtures/folder.ts';
import { logContract } from './log-contract.ts';
import { bucketLogs, folderLogs } from './log-makers.ts';

logContract('files that grow in a folder', folderLogs(await temporaryFolder()));
logContract('an object an entry in a bucket', bucketLogs());
