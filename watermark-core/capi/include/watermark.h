/* Watermark: keyed statistical marks in token sampling, and their detection. MIT OR Apache-2.0.
 *
 * Calls. A function that can fail returns a WmStatus; WM_STATUS_OK is 0. The message of the thread's last failure is
 * wm_last_error(), that of a session's sticky error wm_session_error(). No message holds key material or text. No panic
 * leaves the library: it becomes WM_STATUS_INTERNAL.
 *
 * Memory. Handles are opaque: *_new, *_fork and their like make them, *_free ends them and takes NULL. `out` is set to NULL
 * when a call fails. Buffers are the caller's; [n] in a comment is their number of elements, pointers may be NULL where n is 0.
 * Nothing that is handed in has to outlive the call, keys and profiles included; key bytes, key files and passphrases are
 * yours to wipe, what the library holds of them is wiped when the handle is freed.
 *
 * Threads. WmKey, WmPrf, WmMarker, WmScheme and WmDetector may be used by many threads at once. A WmSession or WmTally belongs
 * to one
 * thread at a time; it may change threads between calls. Working memory, some 50 bytes per token of the vocabulary, is kept
 * per thread.
 *
 * Versions. Structs that callers fill or read begin with struct_size = sizeof. New fields come at the end, and zero in one
 * means what there was before it, so programs and libraries of different versions work together; what an older library does
 * not know is refused, not ignored.
 *
 * One position: wm_session_sample (or wm_session_process, where the engine draws), then wm_session_accept with the token that
 * was really emitted. Prompt tokens are never handed in: contexts are generated tokens only.
 */

#ifndef WATERMARK_H
#define WATERMARK_H

/* Made by cbindgen from the source of watermark-capi. Change that, then: WATERMARK_WRITE_HEADER=1 cargo test -p watermark-capi --test header */

#include <stddef.h>
#include <stdint.h>
/* llama.cpp's own types, defined by its llama.h */
struct llama_sampler;
struct llama_sampler_i;


// What stands in the place of a token where there is none.
#define WM_NO_TOKEN UINT32_MAX

// What a call came to. Everything but WM_STATUS_OK leaves a message for people: `wm_last_error`.
typedef enum WmStatus {
    // Done.
    WM_STATUS_OK = 0,
    // A pointer is NULL or misaligned, a buffer too short, a struct_size or a constant unknown, a text not UTF-8. Nothing has
    // happened.
    WM_STATUS_INVALID_ARGUMENT = 1,
    // A key path is malformed.
    WM_STATUS_INVALID_PATH = 2,
    // The key does not lie above the profile's path.
    WM_STATUS_OUTSIDE_SUBTREE = 3,
    // A key file is malformed.
    WM_STATUS_INVALID_KEY_FILE = 4,
    // A profile is malformed or contradicts itself.
    WM_STATUS_INVALID_PROFILE = 5,
    // A file was written by a newer or unknown version of its format.
    WM_STATUS_UNSUPPORTED_VERSION = 6,
    // A parameter is outside its domain.
    WM_STATUS_INVALID_PARAMETER = 7,
    // A token id is at or above 2^24, or at or above vocab_size.
    WM_STATUS_TOKEN_OUT_OF_RANGE = 8,
    // Logits hold NaN or +inf or allow no token.
    WM_STATUS_INVALID_LOGITS = 9,
    // A passphrase does not open a key file, or the file was changed.
    WM_STATUS_WRONG_PASSPHRASE = 10,
    // Something that the profile or key file needs was not given: an account, a passphrase, a proxy.
    WM_STATUS_MISSING_INPUT = 11,
    // A defect of this library; the session can be used again after wm_session_reset.
    WM_STATUS_INTERNAL = 12,
} WmStatus;

// Whether a position carries a mark, and if not, why.
typedef enum WmMarkState {
    // At least one layer acted on the distribution or on the draw.
    WM_MARK_STATE_MARKED = 0,
    // The session was opened unmarked, or has not sampled yet, or only its choosing layer could mark and `process` left the
    // draw to the caller.
    WM_MARK_STATE_OFF = 1,
    // Temperature 0: the most likely token, whatever the key. Not where the profile's policy raised it, or where a boost before the
    // temperature acted.
    WM_MARK_STATE_GREEDY = 2,
    // One token holds (nearly) all the probability, so no key could have changed it.
    WM_MARK_STATE_CERTAIN = 3,
    // No layer has a context here: too few generated tokens, or a special one among them.
    WM_MARK_STATE_NO_CONTEXT = 4,
    // The only layer with a context is the choosing one, and it has used this context before.
    WM_MARK_STATE_REPEATED = 5,
    // A state of a later version.
    WM_MARK_STATE_OTHER = 6,
} WmMarkState;

// Number formats of a batch's logits.
typedef enum WmDtype {
    // float.
    WM_DTYPE_F32 = 0,
    // IEEE 754 binary16.
    WM_DTYPE_F16 = 1,
    // bfloat16.
    WM_DTYPE_BF16 = 2,
} WmDtype;

// The layers of a profile under one key, ready to score. May be shared by threads.
typedef struct WmDetector WmDetector;

// The secret of one node of the key tree. Wiped when freed. May be shared by threads.
typedef struct WmKey WmKey;

// A profile with its key, which makes sessions. May be shared by threads.
typedef struct WmMarker WmMarker;

// The PRF chacha20-v1 under one key and context width. Wiped when freed. May be shared by threads.
typedef struct WmPrf WmPrf;

// A scheme with its parameters. May be shared by threads.
typedef struct WmScheme WmScheme;

// One sequence being sampled. One thread at a time.
//
// An error other than WM_STATUS_INVALID_ARGUMENT is sticky: every call returns it again until `wm_session_reset`.
typedef struct WmSession WmSession;

// Counts of distinct (context, token) pairs over any number of records, for every layer of a detector. One thread at a time.
typedef struct WmTally WmTally;

// How one sequence is sampled. Fill it with `wm_session_options_default`, then change what differs.
typedef struct WmSessionOptions {
    // sizeof(WmSessionOptions).
    size_t struct_size;
    // The account that asks, NUL-terminated; needed by layers with a key per account, refused if no layer has one. NULL for
    // none.
    const char *account;
    // Seed of every draw that no key decides. The same seed for two sequences repeats those draws.
    uint64_t seed;
    // Keep the top_k most likely tokens; 0 keeps all.
    uint64_t top_k;
    // Keep the fewest most likely tokens whose probabilities sum to at least top_p; 1 keeps all.
    double top_p;
    // Keep tokens with at least min_p times the probability of the most likely one; 0 keeps all.
    double min_p;
    // Divides the logits; 0 is greedy decoding, which carries no mark unless the profile's sampling policy sees to it.
    float temperature;
    // 1 marks; 0 samples without any mark and without the profile's sampling policy.
    uint32_t marked;
    // The request's number in the ledger, NUL-terminated, for example "ledger/2026-11/17"; a marked session of a profile with paired
    // draws needs one that no other answer has, and profiles without them refuse it. NULL for none.
    const char *request;
} WmSessionOptions;

// What the profile's sampling policy raised in a session's options.
typedef struct WmRaised {
    // sizeof(WmRaised).
    size_t struct_size;
    // The top-p that was asked for, and what it became; both 0 if it was left as it was.
    double top_p_from;
    // See top_p_from.
    double top_p_to;
    // The temperature that was asked for, and what it became; both 0 if it was left as it was.
    float temperature_from;
    // See temperature_from.
    float temperature_to;
} WmRaised;

// The test of one layer. Null hypothesis: the text is independent of the key; the key is then the only randomness, and the
// tail is exact for any text.
typedef struct WmFinding {
    // sizeof(WmFinding).
    size_t struct_size;
    // The layer's name in its profile; NULL for a raw PRF key. Valid as long as the detector or a tally of it.
    const char *layer;
    // The scheme's name. Valid as long as the detector or a tally of it.
    const char *scheme;
    // Distinct pairs.
    uint64_t n_scored;
    // Positions whose pair had occurred before.
    uint64_t n_duplicate;
    // Special tokens and pairs from prompts.
    uint64_t n_excluded;
    // Positions without a full context.
    uint64_t n_short_context;
    // Green tokens, ones (weighted where the scheme says so), or the score sum in units of 2^-32: the low 64 bits.
    uint64_t statistic_low;
    // The high 64 bits of the statistic.
    uint64_t statistic_high;
    // log10 P(statistic at least this large) under the null hypothesis, to a relative error of 1e-9 (dual key 1e-6).
    double log10_p;
    // Natural logarithm of the e-value.
    double ln_e;
} WmFinding;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The message of this thread's last call that failed; empty if none did. Valid until the next one fails on this thread.
const char *wm_last_error(void);

// Reads a key file, sealed or not: `json` [json_len]. `passphrase` opens a sealed one; NULL where none is needed.
enum WmStatus wm_key_open(const char *json, size_t json_len, const char *passphrase, struct WmKey **out);

// The root node of a master secret [n], 32 bytes or more from the system's randomness.
enum WmStatus wm_key_from_master(const uint8_t *master, size_t n, struct WmKey **out);

// The node [32] that was exported from `path`.
enum WmStatus wm_key_from_node(const char *path, const uint8_t *node, struct WmKey **out);

// The node at the absolute `path`, at or below this one. Whoever holds it can derive what is below it and nothing else.
enum WmStatus wm_key_descend(const struct WmKey *key, const char *path, struct WmKey **out);

// Writes the commitment [32] to this node under `salt` [32]: SHA-256("watermark-commit-v1\0" || node || salt).
enum WmStatus wm_key_commitment(const struct WmKey *key, const uint8_t *salt, uint8_t *commitment);

// Ends a key; NULL is allowed.
void wm_key_free(struct WmKey *key);

// The PRF of a scheme (by its name) at a context width of 0 to 8 tokens, under this node.
enum WmStatus wm_prf_derive(const struct WmKey *key, const char *scheme, size_t width, struct WmPrf **out);

// The PRF under a raw key [32] at a context width of 0 to 8 tokens. A key belongs to one width.
enum WmStatus wm_prf_new(const uint8_t *prf_key, size_t width, struct WmPrf **out);

// The words of `tokens` [n] after the tokens `context` [n_context], of which the last `width` count. `words` is [n].
enum WmStatus wm_prf_words(const struct WmPrf *prf,
                           const uint32_t *context,
                           size_t n_context,
                           const uint32_t *tokens,
                           size_t n,
                           uint32_t *words);

// The 16 words that belong to the context alone.
enum WmStatus wm_prf_context_words(const struct WmPrf *prf, const uint32_t *context, size_t n_context, uint32_t *words);

// Ends a PRF; NULL is allowed.
void wm_prf_free(struct WmPrf *prf);

// Prepares a profile, `profile_json` [profile_len], under a key at or above the profile's path. The key is not needed any
// more afterwards.
enum WmStatus wm_marker_new(const char *profile_json,
                            size_t profile_len,
                            const struct WmKey *key,
                            struct WmMarker **out);

// The length of a row of logits; 0 for NULL.
uint32_t wm_marker_vocab_size(const struct WmMarker *marker);

// 1 if a layer draws the token itself, as `wm_session_sample` then does; without one the draw is ordinary, or the engine's after
// `wm_session_process`. 0 for NULL.
uint32_t wm_marker_chooses(const struct WmMarker *marker);

// 1 if a layer has a key per account, so that a marked session needs one. 0 for NULL.
uint32_t wm_marker_has_account_layer(const struct WmMarker *marker);

// 1 if the profile has paired draws, so that a marked session needs the request's number. 0 for NULL.
uint32_t wm_marker_has_paired_draws(const struct WmMarker *marker);

// 1 if answers at temperature 0 are marked, because the profile's sampling policy raises it or boosts before it: then open a
// session for greedy requests too. 0 for NULL.
uint32_t wm_marker_marks_greedy(const struct WmMarker *marker);

// Ends a marker; NULL is allowed. Its sessions go on.
void wm_marker_free(struct WmMarker *marker);

// Marked, seed 0, no account, no request, temperature 1, no truncation. Set `options->struct_size` to sizeof(WmSessionOptions) first.
enum WmStatus wm_session_options_default(struct WmSessionOptions *options);

// Starts a sequence with no generated tokens; `options` NULL is the default.
enum WmStatus wm_session_new(const struct WmMarker *marker,
                             const struct WmSessionOptions *options,
                             struct WmSession **out);

// Applies temperature, truncation and the reweighting layers, in the order of the profile's policy, to `logits` [n = vocab_size] in
// place; tokens outside the
// truncation become -inf, and what is -inf (a grammar's mask) stays so. For engines that draw the token themselves: a
// choosing layer has no part.
enum WmStatus wm_session_process(struct WmSession *session,
                                 float *logits,
                                 size_t n);

// Draws the next token from `logits` [n = vocab_size], which are not changed; -inf is a token that cannot be drawn. Does not
// advance the sequence: calling it again gives the same token.
enum WmStatus wm_session_sample(struct WmSession *session,
                                const float *logits,
                                size_t n,
                                uint32_t *token);

// As `wm_session_sample` where only some tokens are left, after a truncation elsewhere: `ids` and `logits` [n], aligned, ids
// distinct and in any order.
enum WmStatus wm_session_sample_among(struct WmSession *session,
                                      const uint32_t *ids,
                                      const float *logits,
                                      size_t n,
                                      uint32_t *token);

// Hands in a proxy's next-token probabilities [n = vocab_size] for the next position, as layers whose scheme needs a
// proxy (`adfp`) want them before every sample or process. Forgotten when the sequence moves.
enum WmStatus wm_session_set_proxy(struct WmSession *session, const float *probabilities, size_t n);

// Appends the token that was really emitted.
enum WmStatus wm_session_accept(struct WmSession *session, uint32_t token);

// Takes back the last `n` accepted or drafted tokens, or all if there are fewer.
enum WmStatus wm_session_rollback(struct WmSession *session, size_t n);

// Draws a draft token from the draft model's `logits` [n = vocab_size] and puts it at the end of the sequence until
// `wm_session_verify`.
enum WmStatus wm_session_draft(struct WmSession *session, const float *logits, size_t n, uint32_t *token);

// Puts a draft token that was not drawn here at the end of the sequence until `wm_session_verify`.
enum WmStatus wm_session_propose(struct WmSession *session, uint32_t token);

// Replaces the drafts by what the target model's rows give: the drafts up to the first one that does not hold, then one
// token more. `rows` [n_rows, vocab_size], row after row, with n_rows = drafts + 1. `*n_emitted` is 1 to n_rows; the tokens
// are the last of `wm_session_generated`.
enum WmStatus wm_session_verify(struct WmSession *session,
                                const float *rows,
                                size_t n_rows,
                                size_t *n_emitted);

// The tokens so far, drafts last: `*n` is how many there are, and they are written to `tokens` [capacity] if they fit.
// `tokens` NULL with capacity 0 asks for the number alone.
enum WmStatus wm_session_generated(const struct WmSession *session, uint32_t *tokens, size_t capacity, size_t *n);

// What paired draws withheld at each position of `wm_session_generated`: the candidate that the coin did not serve, which may be the same
// token; WM_NO_TOKEN where another token was accepted than the one that was drawn. As `wm_session_generated`; none in a session without
// paired draws. It belongs to the provider and not to the client. The token that ends the answer must be accepted and kept with the
// others, or be special.
enum WmStatus wm_session_withheld(const struct WmSession *session,
                                  uint32_t *tokens,
                                  size_t capacity,
                                  size_t *n);

// Whether the position last sampled or processed carries a mark.
enum WmStatus wm_session_mark_state(const struct WmSession *session, enum WmMarkState *state);

// What the profile's sampling policy raised; nothing in an unmarked session. Set `raised->struct_size` to sizeof(WmRaised) first.
// Where the policy has a floor for top-p, top-k and min-p are held to it too, row by row, which is not in here.
enum WmStatus wm_session_raised(const struct WmSession *session,
                                struct WmRaised *raised);

// The message of the session's sticky error; NULL if there is none. Valid until the next call with this session.
const char *wm_session_error(const struct WmSession *session);

// Makes room for `tokens` more tokens, 2^24 at most, so that accepting them allocates nothing.
enum WmStatus wm_session_reserve(struct WmSession *session, size_t tokens);

// An independent copy at this point. Draws that no key decides repeat in the copy as long as both have the same number of
// tokens. A request has one answer, so a copy has no paired draws.
enum WmStatus wm_session_fork(const struct WmSession *session,
                              struct WmSession **out);

// Back to no generated tokens; clears a sticky error. With paired draws only the same answer may be made again: another one takes a
// session and a request of its own.
enum WmStatus wm_session_reset(struct WmSession *session);

// Ends a session; NULL is allowed.
void wm_session_free(struct WmSession *session);

// `wm_session_process` for `sessions` [n], all of one vocab_size and no session twice: row i of `rows` [n, vocab_size] with
// session i, in place. `row_stride` is the distance of rows in elements, at least vocab_size; `dtype` is a WmDtype.
//
// A row that fails fails alone: `statuses` [n] says which (the message: `wm_session_error`), and the call returns the first
// of them. With WM_STATUS_INVALID_ARGUMENT nothing has happened; then, and with WM_STATUS_INTERNAL, `statuses` is not
// written. The work is shared by the threads of one pool of the process, as many as there are cores or RAYON_NUM_THREADS says.
enum WmStatus wm_process_batch(struct WmSession *const *sessions,
                               size_t n,
                               void *rows,
                               size_t row_stride,
                               uint32_t dtype,
                               enum WmStatus *statuses);

// `wm_session_sample` for a batch, as `wm_process_batch`. `tokens` is [n]; where a row failed, its token is not written.
enum WmStatus wm_sample_batch(struct WmSession *const *sessions,
                              size_t n,
                              const void *rows,
                              size_t row_stride,
                              uint32_t dtype,
                              uint32_t *tokens,
                              enum WmStatus *statuses);

// A scheme as a layer of a profile has it, `scheme_json` [scheme_len], for instance `{"scheme": "greenlist", "gamma": 0.5}`. What
// only marking needs may be left out. What there is: papers/README.md, "Schemes".
enum WmStatus wm_scheme_parse(const char *scheme_json,
                              size_t scheme_len,
                              struct WmScheme **out);

// Ends a scheme; NULL is allowed. Detectors made from it go on.
void wm_scheme_free(struct WmScheme *scheme);

// Every layer of a profile, `profile_json` [profile_len], under a key at or above the profile's path. `account` is needed if
// a layer has a key per account, else it must be NULL.
enum WmStatus wm_detector_new(const char *profile_json,
                              size_t profile_len,
                              const struct WmKey *key,
                              const char *account,
                              struct WmDetector **out);

// One layer from a raw PRF key [32], without a profile and without special tokens.
enum WmStatus wm_detector_from_prf_key(const struct WmScheme *scheme,
                                       size_t width,
                                       const uint8_t *prf_key,
                                       struct WmDetector **out);

// The number of layers; 0 for NULL.
size_t wm_detector_n_layers(const struct WmDetector *detector);

// Ends a detector; NULL is allowed. Its tallies go on.
void wm_detector_free(struct WmDetector *detector);

// An empty tally.
enum WmStatus wm_tally_new(const struct WmDetector *detector, struct WmTally **out);

// Counts one record's generated `tokens` [n]; pairs that occur in its own `prompt` [n_prompt] are excluded. Every generated
// position falls into exactly one of short_context, excluded, duplicate and scored. After an error the tally is as before.
enum WmStatus wm_tally_add(struct WmTally *tally,
                           const uint32_t *prompt,
                           size_t n_prompt,
                           const uint32_t *tokens,
                           size_t n);

// Adds the counts of `other`, a tally of the same detector, which stays as it is. Merging gives what one tally of all records
// would hold.
enum WmStatus wm_tally_merge(struct WmTally *tally,
                             const struct WmTally *other);

// The plain test of one layer, 0 to n_layers - 1, over everything that was counted. Set `finding->struct_size` first. With
// several layers, or several texts, p-values have to be adjusted for their number before one is believed.
enum WmStatus wm_tally_finding(const struct WmTally *tally,
                               size_t layer,
                               struct WmFinding *finding);

// Ends a tally; NULL is allowed.
void wm_tally_free(struct WmTally *tally);

// The integer score of one pair, so that a statistic can be added up by hand: `word` is the PRF's word of (context, token);
// `second` is what the scheme needs beside it, the word of key B for `gumbel_dual_key` and word 0 of the context for `mcmark`, and
// ignored by schemes that need nothing.
enum WmStatus wm_scheme_score(const struct WmScheme *scheme,
                              uint32_t word,
                              uint32_t second,
                              uint64_t *score);

// The functions of the sampler, for `llama_sampler_init`.
struct llama_sampler_i *wm_llama_iface(void);

// The state of a sampler: a copy of `session`, which stays yours and has no paired draws. `init` is `llama_sampler_init` itself; clones of the sampler
// are made with it.
//
// `llama_sampler_chain_add(chain, llama_sampler_init(wm_llama_iface(), ctx))`
// must be the last addition to the chain, in place of `dist` or `greedy`, after temperature and truncation, which the
// session's options then leave alone (their default). A profile with a sampling policy cannot be kept there, because temperature and
// truncation have been applied before: for one, make the sampler the only one of its chain (penalties and grammars may stand before
// it) and give temperature and truncation to the session's options. The sampler owns the state and frees it; do not touch `ctx` after
// `llama_sampler_free`. Feed it generated tokens only: where an application accepts the prompt's tokens too, as for
// penalties, call `llama_sampler_reset` on this sampler before the first generated one.
//
// libllama has no way to report an error from a sampler. After one the most likely token is chosen, without a mark, until
// `llama_sampler_reset`: look at `wm_session_error(wm_llama_session(ctx))` after every answer.
enum WmStatus wm_llama_ctx_new(const struct WmSession *session,
                               struct llama_sampler *(*init)(struct llama_sampler_i *iface, void *ctx),
                               void **out);

// The session inside a sampler's state, to look at: its tokens, mark state and error. The sampler's; do not free it.
struct WmSession *wm_llama_session(void *ctx);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WATERMARK_H */
