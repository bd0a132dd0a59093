/// The ids of a conversation so far. Everything before a text of the conversation is its prompt.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    ids: Vec<u32>,
    /// Whether the text before could not be used.
    lost: bool,
}

impl Conversation {
    /// Notes that the next text could not be used. A text that continues it does not continue the conversation before
    /// it, because nobody knows what stood in between.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether the next text, which can be used, goes on where the one before it ended; `said` is what its record says.
    #[must_use]
    pub fn continues(&mut self, said: bool) -> bool {
        !std::mem::take(&mut self.lost) && said
    }

    /// Adds the prompt of the next text, after what the conversation has shown if the text goes on with it.
    pub fn ask(&mut self, continues: bool, prompt: &[u32]) {
        if !self.continues(continues) {
            self.ids.clear();
        }
        self.ids.extend_from_slice(prompt);
    }

    /// Adds the text, once it is counted.
    pub fn answer(&mut self, tokens: &[u32]) {
        self.ids.extend_from_slice(tokens);
    }

    /// Everything so far; after [`Self::ask`], the whole prompt of the text.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_before_is_prompt() {
        let mut conversation = Conversation::default();
        conversation.ask(false, &[1, 2]);
        assert_eq!(conversation.ids(), [1, 2]);
        conversation.answer(&[3]);
        conversation.ask(true, &[4]);
        assert_eq!(conversation.ids(), [1, 2, 3, 4]);
        conversation.answer(&[5]);
        conversation.ask(false, &[6]);
        assert_eq!(conversation.ids(), [6]);
    }

    #[test]
    fn a_lost_text_ends_the_conversation_once() {
        let mut conversation = Conversation::default();
        conversation.ask(false, &[1]);
        conversation.answer(&[2]);
        conversation.lose();
        conversation.ask(true, &[3]);
        assert_eq!(conversation.ids(), [3]);
        conversation.ask(true, &[4]);
        assert_eq!(conversation.ids(), [3, 4]);
        conversation.lose();
        assert!(!conversation.continues(true) && conversation.continues(true) && !conversation.continues(false));
    }
}
