"""Approval before issue: what a close was asked for, and the answer"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'

CodePointText = sa.Text().with_variant(sa.Text(collation='C'), 'postgresql')


def upgrade() -> None:
    op.add_column('closes', sa.Column('approval', CodePointText, server_default='', nullable=False))
    op.add_column('closes', sa.Column('approved_at_us', sa.BigInteger(), nullable=True))
    op.create_table('approvals',
    sa.Column('close_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('approved_at_us', sa.BigInteger(), nullable=False),
    sa.Column('approved_by', CodePointText, nullable=False),
    sa.Column('asked_why', CodePointText, nullable=False),
    sa.Column('seen_sha256', CodePointText, nullable=False),
    sa.Column('comment', CodePointText, nullable=False),
    sa.ForeignKeyConstraint(['close_no'], ['closes.close_no'], name=op.f('fk_approvals_close_no')),
    sa.PrimaryKeyConstraint('close_no', name=op.f('pk_approvals'))
    )
    op.create_table('rejections',
    sa.Column('close_no', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('team_id', CodePointText, nullable=False),
    sa.Column('cycle_start_us', sa.BigInteger(), nullable=False),
    sa.Column('cycle_end_us', sa.BigInteger(), nullable=False),
    sa.Column('reason', CodePointText, nullable=False),
    sa.ForeignKeyConstraint(['close_no'], ['approvals.close_no'], name=op.f('fk_rejections_close_no')),
    sa.PrimaryKeyConstraint('close_no', 'team_id', name=op.f('pk_rejections'))
    )
    op.create_index(op.f('ix_rejections_team_id'), 'rejections', ['team_id'], unique=False)
