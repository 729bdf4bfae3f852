import type { GrubPiece } from '../formats/script/grub-tokens.ts';
import type { LintRule } from './lint.ts';

/** A keyword of GRUB's language, or a command with its words. */
export interface GrubItem {
  readonly line: number;
  readonly name: string;
  readonly words: readonly GrubWord[];
}

export type GrubWord = readonly GrubPiece[];

export type GrubReport = (rule: LintRule, line: number, message: string) => void;
