% rebase('layout.tpl', title=t("errors.title", title=title) if page.errors else title)
<div class="narrow">
<div class="head"><div>
  <h1><bdi>{{page.title}}</bdi></h1>
% if page.note:
  <p class="note">{{page.note}}</p>
% end
</div>
% if page.records_href or page.mine_href:
  <div class="tools">
%   if page.mine_href:
    <a class="button" href="{{page.mine_href}}">{{t("trail.mine")}}</a>
%   end
%   if page.records_href:
    <a class="button" href="{{page.records_href}}">{{page.records}}</a>
%   end
  </div>
% end
</div>
% include('_done.tpl')
% if page.notice:
<div class="notice good" role="status"><p>{{page.notice}}</p></div>
% end
% if page.unfit:
<div class="notice bad" role="status"><p><bdi>{{page.unfit}}</bdi></p></div>
% end
% if page.drafts:
<section class="unsent" aria-labelledby="drafts">
<h2 id="drafts">{{t("drafts.title")}}</h2>
%   include('_drafts.tpl', drafts=page.drafts, names_form=False)
</section>
% end
% include('_errors.tpl')
% include('_form.tpl', page=page)
</div>
