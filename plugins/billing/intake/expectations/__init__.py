"""What is expected of usage and of the books, as suites of Great Expectations; frames in, results and a page out.

``suite``       the nouns: an expectation with its words, a suite, what came of it.
``bounds``      every bound that a home may change, and why it is what it is.
``history``     what the windows of a source were like before.
``extract``     the suite for what a window brought: it stops the run, unless a person says why it is right.
``accepted``    the suite for what is about to be written: nothing bad passes, and nobody can wave it through.
``ledger``      the suite for the books after a close.
``evaluation``  the only place where Great Expectations is imported.
``data_docs``   its page, readable without a network.

The frames are small (a row a file, a window, a group of accepted events, a law) and their numbers are exact, so that
millions of records cost no more to look at than a few.
"""
