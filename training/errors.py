"""What stops a command: each is one sentence that says what is wrong and what to do."""


class TrainingError(Exception):
    """Wrong use, wrong data, or a machine that cannot go on: exit status 2."""


class DataError(TrainingError):
    """The data cannot be used."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, is of another run, or cannot be written."""


class ArtefactError(TrainingError):
    """A file is not an artefact, or does not do what the eager network does."""


class Diverged(TrainingError):
    """The loss or the weights are no longer numbers."""


class Interrupted(Exception):
    """The user stopped the run; its checkpoint is saved."""
