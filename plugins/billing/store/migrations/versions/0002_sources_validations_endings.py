"""Sources and their windows, stopped windows, validations; how a quarantined record ended"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')


def upgrade() -> None:
    op.create_table('files_set_aside',
    sa.Column('source', CodePointText, nullable=False),
    sa.Column('name', CodePointText, nullable=False),
    sa.Column('bytes', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('arrived_at_us', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.Column('why', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('source', 'name', 'bytes', 'arrived_at_us', name=op.f('pk_files_set_aside'))
    )
    op.create_table('sources',
    sa.Column('name', CodePointText, nullable=False),
    sa.Column('kind', CodePointText, nullable=False),
    sa.Column('location', CodePointText, nullable=False),
    sa.Column('registered_at_us', sa.BigInteger(), nullable=False),
    sa.Column('retired_at_us', sa.BigInteger(), nullable=True),
    sa.Column('retired_why', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_sources'))
    )
    op.create_table('stopped_windows',
    sa.Column('stop_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('source', CodePointText, nullable=False),
    sa.Column('window_start_us', sa.BigInteger(), nullable=True),
    sa.Column('window_end_us', sa.BigInteger(), nullable=False),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.Column('kind', CodePointText, nullable=False),
    sa.Column('message', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('stop_no', name=op.f('pk_stopped_windows'))
    )
    op.create_index(op.f('ix_stopped_windows_source'), 'stopped_windows', ['source'], unique=False)
    op.create_table('validations',
    sa.Column('validation_no', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('suite', CodePointText, nullable=False),
    sa.Column('subject', CodePointText, nullable=False),
    sa.Column('run', CodePointText, nullable=False),
    sa.Column('batch_no', sa.BigInteger(), nullable=True),
    sa.Column('close_no', sa.BigInteger(), nullable=True),
    sa.Column('at_us', sa.BigInteger(), nullable=False),
    sa.Column('expectations', sa.BigInteger(), nullable=False),
    sa.Column('failed', CodePointText, nullable=False),
    sa.Column('accepted_why', CodePointText, nullable=False),
    sa.Column('page_sha256', CodePointText, nullable=False),
    sa.Column('page_path', CodePointText, nullable=False),
    sa.PrimaryKeyConstraint('validation_no', name=op.f('pk_validations'))
    )
    op.create_index(op.f('ix_validations_run'), 'validations', ['run'], unique=False)
    op.add_column('batches', sa.Column('kind', CodePointText, nullable=False, server_default='delivery'))
    op.add_column('quarantine', sa.Column('event_id', CodePointText, nullable=False, server_default=''))
    op.add_column('quarantine', sa.Column('app_id', CodePointText, nullable=False, server_default=''))
    op.add_column('quarantine', sa.Column('api', CodePointText, nullable=False, server_default=''))
    op.add_column('quarantine', sa.Column('occurred_day', sa.BigInteger(), nullable=True))
    op.add_column('quarantine', sa.Column('ending', CodePointText, nullable=False, server_default=''))
    op.add_column('quarantine', sa.Column('ended_in', sa.BigInteger(), nullable=True))
    op.add_column('quarantine', sa.Column('ended_at_us', sa.BigInteger(), nullable=True))
    op.add_column('quarantine', sa.Column('ended_why', CodePointText, nullable=False, server_default=''))
    op.create_index(op.f('ix_quarantine_ending_reason'), 'quarantine', ['ending', 'reason'], unique=False)
    op.drop_column('quarantine', 'replayed_in')
