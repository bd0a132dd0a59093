//! Splitting a text into pre-tokens with one DFA pass per pattern.
//!
//! The patterns in use differ from ordinary regular expressions only in their end, `\s+(?!\S)|\s+`: a run of white space
//! leaves its last character to the word after it. That much is done by hand here; a pattern with any other look-around,
//! possessive repetition or assertion is refused, and the text goes through the `tokenizers` crate's backtracking engine.

use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input};
use regex_syntax::ast::{self, Ast, GroupKind};

/// How the patterns in use end; after a single white-space character both mean the same.
const TAILS: [&str; 2] = [r"|\s+(?!\S)|\s+", r"|\s+(?!\S)|\s"];

/// One pattern: its matches, and what lies between them, are the pre-tokens.
pub(super) struct Split {
    /// Pattern 0 is what comes before the tail, pattern 1 the tail's white space.
    dfa: DFA,
    keep_gaps: bool,
    /// Whether the library needs its backtracking engine for the same.
    backtracks: bool,
    /// White space that ends the text is one match, as if the pattern tried `\s++$` first.
    pub(super) end_is_one: bool,
}

impl Split {
    /// A splitter with the matches of `pattern`; text between matches is a pre-token too if `keep_gaps`, else dropped.
    /// `None` if the pattern means something that this module cannot do.
    pub(super) fn new(pattern: &str, keep_gaps: bool) -> Option<Self> {
        let body = TAILS.iter().find_map(|tail| pattern.strip_suffix(tail));
        let ordinary = body.unwrap_or(pattern);
        ast::visit(&ast::parse::Parser::new().parse(ordinary).ok()?, Plain).ok()?;
        // An empty match moves on by a rule of its own.
        if regex_syntax::parse(ordinary).ok()?.properties().minimum_len()? == 0 {
            return None;
        }
        let patterns: &[&str] = if body.is_some() { &[ordinary, r"\s+"] } else { &[ordinary] };
        Some(Self {
            dfa: DFA::builder().build_many(patterns).ok()?,
            keep_gaps,
            backtracks: body.is_some(),
            end_is_one: false,
        })
    }

    pub(super) fn create_cache(&self) -> Cache {
        self.dfa.create_cache()
    }

    /// End of the match that starts at `at`.
    fn end(&self, cache: &mut Cache, text: &str, at: usize) -> Option<Option<usize>> {
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let Some(half) = self.dfa.try_search_fwd(cache, &input).ok()? else { return Some(None) };
        let end = half.offset();
        if half.pattern().as_usize() == 1 && end < text.len() {
            let last = text.get(at..end)?.char_indices().next_back()?.0;
            if last > 0 {
                return Some(Some(at + last));
            }
        }
        Some(Some(end))
    }
}

/// Calls `f` with the pre-tokens of `text` in order: `splits` one after the other, each on the pieces of the one before.
/// `None` if `f` returned it, or where the library would have to backtrack over more than `longest` bytes.
pub(super) fn split<F>(splits: &[Split], caches: &mut [Cache], text: &str, longest: usize, f: &mut F) -> Option<()>
where
    F: FnMut(&str) -> Option<()>,
{
    let (Some((split_here, splits)), Some((cache, caches))) = (splits.split_first(), caches.split_first_mut()) else {
        return f(text);
    };
    let longest_here = if split_here.backtracks { longest } else { usize::MAX };
    let space_at_end = if split_here.end_is_one { text.trim_end().len() } else { text.len() };
    let (mut done, mut at) = (0, 0);
    while at < text.len() {
        let end = if at >= space_at_end { Some(text.len()) } else { split_here.end(cache, text, at)? };
        let Some(end) = end else {
            at = text.ceil_char_boundary(at + 1);
            continue;
        };
        if end - done > longest_here {
            return None;
        }
        if done < at && split_here.keep_gaps {
            split(splits, caches, text.get(done..at)?, longest, f)?;
        }
        split(splits, caches, text.get(at..end)?, longest, f)?;
        (done, at) = (end, end);
    }
    if text.len() - done > longest_here {
        return None;
    }
    if done < at && split_here.keep_gaps {
        split(splits, caches, text.get(done..)?, longest, f)?;
    }
    Some(())
}

/// Passes only syntax that means the same to `regex-automata` and to `fancy-regex`.
struct Plain;

impl ast::Visitor for Plain {
    type Output = ();
    type Err = ();

    fn finish(self) -> Result<(), ()> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        let plain = match ast {
            Ast::Empty(_)
            | Ast::Literal(_)
            | Ast::Dot(_)
            | Ast::ClassUnicode(_)
            | Ast::ClassPerl(_)
            | Ast::ClassBracketed(_)
            | Ast::Alternation(_)
            | Ast::Concat(_) => true,
            // `x++` is possessive to one of them, a repetition of a repetition to the other.
            Ast::Repetition(repetition) => !matches!(*repetition.ast, Ast::Repetition(_)),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => {
                    flags.items.iter().all(|item| item.kind == ast::FlagsItemKind::Flag(ast::Flag::CaseInsensitive))
                }
                GroupKind::CaptureIndex(_) => true,
                GroupKind::CaptureName { .. } => false,
            },
            Ast::Flags(_) | Ast::Assertion(_) => false,
        };
        if plain { Ok(()) } else { Err(()) }
    }
}
