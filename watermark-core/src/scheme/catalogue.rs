//! Every scheme of this crate, one line each: the module, which is the file's name, and the type in it. Nothing else lists them.
//! The order is that of help texts, error messages and test runs.

macro_rules! catalogue {
    ($takes_the_list:ident) => {
        $takes_the_list! {
            greenlist Greenlist,
            gumbel Gumbel,
            gumbel_dual_key GumbelDualKey,
            permute_and_flip PermuteAndFlip,
            tournament Tournament,
            mcmark Mcmark,
            dipmark Dipmark,
            adfp Adfp,
            sta1 Sta1,
        }
    };
}
