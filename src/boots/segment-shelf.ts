import { join } from 'node:path';
import { listSegments, type OnLine, type Place, readLines, readPlace } from './segments.ts';

/** Where segments lie: a folder, or a bucket. */
export interface SegmentShelf {
  /** All of them, `SERVER/NAME`, the oldest of a server first. None where nothing was kept. @throws IoError */
  list(): Promise<readonly string[]>;
  /**
   * Reads the lines of a segment from an offset on. What has no newline yet is no line.
   *
   * @param segment of the last list.
   * @returns where the next line begins; a segment that is gone has no lines. @throws IoError
   */
  lines(segment: string, from: number, onLine: OnLine): Promise<number>;
  /** One line, without its newline; undefined where its segment is gone. @throws IoError */
  line(place: Place): Promise<string | undefined>;
}

/** @param folder `STATE/boots` */
export function folderShelf(folder: string): SegmentShelf {
  return {
    list: () => listSegments(folder),
    lines: (segment, from, onLine) => readLines(join(folder, segment), from, onLine),
    line: (place) => readPlace(folder, place),
  };
}
